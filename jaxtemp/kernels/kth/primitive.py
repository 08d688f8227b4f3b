"""Primitive: the bound that the first k classes of a row lie above."""

from __future__ import annotations

from .. import _mosaic_gpu
from .._primitive import RowKernel, deferred
from . import xla

kth = RowKernel("jaxtemp_kth", xla.forward)
_mosaic_gpu.register(kth, deferred(f"{__package__}.mosaic_gpu", "forward"))
kth.lower_to("tpu", deferred(f"{__package__}.mosaic_tpu", "forward"), "mosaic_tpu")
