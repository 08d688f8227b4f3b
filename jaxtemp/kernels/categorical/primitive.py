"""Primitives: one id for every key of a row, at any temperature and at zero."""

from __future__ import annotations

from .. import _mosaic_gpu
from .._primitive import RowKernel, deferred
from . import greedy as greedy_xla
from . import xla

categorical = RowKernel("jaxtemp_categorical", xla.forward)
_mosaic_gpu.register(categorical, deferred(f"{__package__}.mosaic_gpu", "forward"))
greedy = RowKernel("jaxtemp_greedy", greedy_xla.forward)
_mosaic_gpu.register(greedy, deferred(f"{__package__}.greedy_mosaic_gpu", "forward"))

for _kernel, _module in ((categorical, "mosaic_tpu"), (greedy, "greedy_mosaic_tpu")):
    _kernel.lower_to(
        "tpu", deferred(f"{__package__}.{_module}", "forward"), "mosaic_tpu"
    )
