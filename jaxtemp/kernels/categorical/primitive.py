"""Primitives: one id for every key of a row, at any temperature and at zero."""

from __future__ import annotations

from .._primitive import RowKernel
from . import greedy as greedy_xla
from . import xla

categorical = RowKernel("jaxtemp_categorical", xla.forward)
greedy = RowKernel("jaxtemp_greedy", greedy_xla.forward)
