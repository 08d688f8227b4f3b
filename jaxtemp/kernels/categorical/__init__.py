"""Draws from softmax(z / τ), by descent through sums of blocks."""
