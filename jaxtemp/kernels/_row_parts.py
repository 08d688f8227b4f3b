"""Few long rows on a GPU: blocks share a row, and what they find is merged by XLA.

No block waits for another. So a program that writes what depends on a whole row becomes
two: one finds the statistics of the parts, the other is given those of the whole. Both
are done with what they read, and the logits are read as often as by one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ._row_block import Numbers


def in_parts(
    program: Any,
    call: Callable[..., tuple[jax.Array, ...]],
    arrays: int,
    numbers: Numbers,
    out: tuple[Any, ...],
) -> tuple[jax.Array, ...]:
    """The results of a program whose rows are shared by blocks.

    Args:
        program: What is computed, a `_row_program.Program`.
        call: `call(program, numbers, out, row_types)` runs one that is done with what
            it reads, and gives its results `[R]` for every part, `[splits, R]`.
        arrays: How many arrays of rows it reads.
        numbers: Numbers of rows, `[R]`.
        out: The types of its results `[R, V]`.
    """
    whole: Numbers = ()
    if program.partial:
        find = dataclasses.replace(program, emit=None, finish=_statistics)
        parts = call(find, numbers, (), _types(_found(program, arrays, numbers)))
        whole = _merged(program.merge, parts, numbers)
    results, sums = (), ()
    if program.emit:
        write = dataclasses.replace(
            program, partial=None, emit=_given(program.emit, len(numbers)), finish=_sums
        )
        terms = _types(_terms(program.emit, arrays, numbers, whole))
        found = call(write, (*numbers, *whole), out, terms)
        results = found[: len(out)]
        sums = tuple(jnp.sum(x, axis=0) for x in found[len(out) :])
    values = program.finish(numbers, whole, sums) if program.finish else ()
    return *results, *values


def _given(emit, count: int) -> Callable:
    """`emit`, with the statistics behind so many numbers of rows."""

    def write(tile, place, known, statistics):
        del statistics
        return emit(tile, place, known[:count], known[count:])

    return write


def _statistics(numbers, statistics, sums) -> Numbers:
    del numbers, sums
    return statistics


def _sums(numbers, statistics, sums) -> Numbers:
    del numbers, statistics
    return sums


def _found(program, arrays: int, numbers: Numbers) -> Numbers:
    """The shapes of a tile's statistics."""
    tile = (_TILE,) * arrays + (_PLACE,) * program.placed
    return jax.eval_shape(program.partial, tile, _of_one_row(numbers))


def _terms(emit, arrays: int, numbers: Numbers, statistics: Numbers) -> Numbers:
    """The shapes of what a tile adds to sums."""
    known = map(_of_one_row, (numbers, statistics))
    return jax.eval_shape(emit, (_TILE,) * arrays, _PLACE, *known)[1]


_TILE = jax.ShapeDtypeStruct((1, 1), jnp.float32)
_PLACE = jax.ShapeDtypeStruct((1, 1), jnp.int32)


def _of_one_row(numbers: Numbers) -> tuple[jax.ShapeDtypeStruct, ...]:
    return tuple(jax.ShapeDtypeStruct((1,), x.dtype) for x in numbers)


def _types(numbers: Numbers) -> tuple[Any, ...]:
    return tuple(x.dtype for x in numbers)


def _merged(merge, parts: Numbers, numbers: Numbers) -> Numbers:
    """The statistics of whole rows, from those of their parts, two by two."""
    both = jax.vmap(lambda a, b: merge(a, b, numbers))
    while (count := parts[0].shape[0]) > 1:
        pairs = count // 2
        merged = both(
            tuple(x[:pairs] for x in parts), tuple(x[pairs : 2 * pairs] for x in parts)
        )
        rest = (x[2 * pairs :] for x in parts)
        parts = tuple(map(lambda *x: jnp.concatenate(x), merged, rest))
    return tuple(x[0] for x in parts)
