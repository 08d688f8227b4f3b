"""Primitives: one id for every key of a row, at any temperature and at zero."""

from __future__ import annotations

from .. import _mosaic_gpu
from .._primitive import RowKernel
from . import greedy as greedy_xla
from . import mosaic_gpu, xla

categorical = RowKernel("jaxtemp_categorical", xla.forward)
_mosaic_gpu.register(categorical, mosaic_gpu.forward)
greedy = RowKernel("jaxtemp_greedy", greedy_xla.forward)
