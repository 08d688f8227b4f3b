"""The bound of the first k classes on a GPU: one read, and a search in registers.

Rows that a block holds are read once; `search.py` then counts the classes of what is
held as often as it likes. Longer ones would be read for every bit of a number, and run
XLA's form, which reads them a few times.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .. import _mosaic_gpu
from .._masses import spread
from .._row_program import Program, cut, run
from . import search

_OLDEST_JAX = (0, 12)  # 0.11 finds no layout for the search of a tile's only row


def forward(z, k, *, first: bool) -> tuple[jax.Array, jax.Array] | None:
    """See `xla.forward`; `None` for rows that are too long, or too few."""
    classes = z.shape[-1]
    program = Program(
        search=functools.partial(_find, classes, z.dtype, first), placed=True
    )
    tiles = cut(program, z)
    if tiles is None or _mosaic_gpu.version() < _OLDEST_JAX:
        return None
    code, own = run(
        program,
        tiles,
        (z,),
        (search.limit(k, classes),),
        name="kth",
        row_results=2,
        row_type=jnp.int32,
        exponentials=0,
    )
    value = search.number(lax.bitcast_convert_type(code, jnp.uint32), z.dtype)
    return jnp.where(own == 0, -jnp.inf, value), own


def _find(classes: int, dtype: Any, first: bool, count: Callable, numbers):
    """The code of the bound, and the index behind it."""
    (k,) = numbers

    def at(code, z):
        return search.number(spread(code, z), dtype)

    def reaching(code):
        return count(lambda z, place: z >= at(code, z))

    def before(code, index):
        return count(lambda z, place: (z == at(code, z)) & (place < spread(index, z)))

    found = search.find(k, classes, dtype, reaching, before if first else None)
    return tuple(number.astype(jnp.int32) for number in found)
