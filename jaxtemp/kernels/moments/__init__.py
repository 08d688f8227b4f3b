"""One row's maximum, log-sum-exp and moments."""
