"""Softmax, log-softmax, and their Jacobians applied from either side."""
