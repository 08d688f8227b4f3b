"""Primitive: one row's maximum, log-sum-exp and moments."""

from __future__ import annotations

import functools

from ..._rows import Rows
from .._primitive import RowKernel, deferred
from . import xla

moments = RowKernel("jaxtemp_moments", functools.partial(xla.forward, rows=Rows()))
moments.lower_to("tpu", deferred(f"{__package__}.mosaic_tpu", "forward"), "mosaic_tpu")
