"""The first k classes of rows, for a k of every row, without sorting them."""
