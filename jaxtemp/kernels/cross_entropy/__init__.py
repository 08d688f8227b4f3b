"""Cross-entropy along rows, and its Jacobian applied from either side."""
