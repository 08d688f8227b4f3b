"""Primitive: one id a row, of the classes that top-p and min-p keep."""

from __future__ import annotations

from .._primitive import RowKernel
from . import xla

sample = RowKernel("jaxtemp_sample", xla.forward)
