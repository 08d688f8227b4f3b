"""Kernels: one folder an op, one primitive a kernel, one lowering a platform.

`primitive.py` declares an op's primitives, `xla.py` says what they compute, in plain
JAX: the form that runs on every platform, and the reference for every other form.
An accelerator's own form is one more file beside it, registered through
`_primitive.RowKernel.lower_to`.
"""

from ._primitive import available as available
