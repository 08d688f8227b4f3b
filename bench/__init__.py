"""Benchmarks of jaxtemp: `python -m bench [op ...]`, and `python -m bench.tune`.

Read `cases` first (the vocabulary), then `timing` (how a time is taken), `harness`
(how a case is run), `sizes` (the cases of a device), and `softmax` or `sampler` (what
the cases of an op are). `results` documents the JSON that a run leaves behind.
"""
