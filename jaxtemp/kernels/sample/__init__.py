"""Draws from the likeliest classes of softmax(z / τ), without sorting them."""
