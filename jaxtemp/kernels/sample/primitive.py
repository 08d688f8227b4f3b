"""Primitive: one id a row, of the classes that top-p and min-p keep."""

from __future__ import annotations

from .. import _mosaic_gpu
from .._primitive import RowKernel, deferred
from . import xla

sample = RowKernel("jaxtemp_sample", xla.forward)
_mosaic_gpu.register(sample, deferred(f"{__package__}.mosaic_gpu", "forward"))
sample.lower_to("tpu", deferred(f"{__package__}.mosaic_tpu", "forward"), "mosaic_tpu")
