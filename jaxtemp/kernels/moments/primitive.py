"""Primitive: one row's maximum, log-sum-exp and moments."""

from __future__ import annotations

import functools

from ..._rows import Rows
from .. import _mosaic_gpu
from .._primitive import RowKernel, deferred
from . import cpu, xla

moments = RowKernel("jaxtemp_moments", functools.partial(xla.forward, rows=Rows()))
moments.lower_to("cpu", cpu.forward)
_mosaic_gpu.register(moments, deferred(f"{__package__}.mosaic_gpu", "forward"))
moments.lower_to("tpu", deferred(f"{__package__}.mosaic_tpu", "forward"), "mosaic_tpu")
