"""Benchmarks of jaxtemp: `python -m bench [op ...]`.

Read `cases` first (the vocabulary), then `timing` (how a time is taken), `harness`
(how a case is run), and `softmax` or `sampler` (what the cases of an op are). `results`
documents the JSON that a run leaves behind.
"""
