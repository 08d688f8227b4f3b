"""The sizes of cases: one table for each kind of device.

A CPU gets what its caches and a few seconds allow. An accelerator gets a few small
sizes, where the launch matters, and then as many rows as fill `FILL` bytes of logits,
far more than its caches hold, for vocabularies from short to long.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp

from bench.cases import Case

Size = tuple[int, int]  # rows and classes
Typed = tuple[int, int, str]  # and the dtype of the logits

DTYPES = ("float32", "bfloat16")
FILL = 1 << 28
FILLED = 0  # for rows: as many as fill the bytes


class Sizes(NamedTuple):
    """The sizes on one kind of device.

    Attributes:
        softmax: By mode.
        one_tau: By mode, of softmax with one τ for all rows.
        family: By mode, of the other ops of its family.
        cross_entropy: In both modes.
        draws: Of one plain draw a row, and of draws by top-p.
        greedy: Of draws at τ = 0.
        top_k: Of draws by top-k.
        filters: Of draws by several filters.
        scaling: Of each op whose time is followed along the classes and the rows.
        quick: Those that only show that everything works.
        check_first: Whether ours is checked at the quick sizes before a full run.
    """

    softmax: Mapping[str, tuple[Size, ...]]
    one_tau: Mapping[str, tuple[Size, ...]]
    family: Mapping[str, tuple[Size, ...]]
    cross_entropy: tuple[Size, ...]
    draws: tuple[Typed, ...]
    greedy: tuple[Typed, ...]
    top_k: tuple[Typed, ...]
    filters: tuple[Typed, ...]
    scaling: tuple[Size, ...]
    quick: tuple[Size, ...]
    check_first: bool


def _modes(sizes: tuple[Size, ...], *names: str) -> dict[str, tuple[Size, ...]]:
    return dict.fromkeys(names or ("forward", "value_and_grad"), sizes)


HEADLINE = ((8, 32000), (64, 32000), (8, 131072), (64, 131072))
# At 32 rows from few classes to a million, at 32 000 classes from one row to 512.
_SCALING = (
    *((32, v) for v in (128, 512, 2048, 8192, 32000, 131072, 1_000_000)),
    *((rows, 32000) for rows in (1, 2, 8, 128, 512)),
)
_FEW_CPU = ((65536, 8), (2048, 1024), (32, 131072))
_CPU_FILTERS = tuple((*size, "float32") for size in (*HEADLINE, (65536, 8)))
_CPU_DRAWS = (
    *_CPU_FILTERS,
    (1, 8, "float32"),
    (1, 32000, "float32"),
    (4096, 1000, "float32"),
    (64, 50257, "float32"),
    (8, 1_000_000, "float32"),
    (8, 131072, "bfloat16"),
)
_CPU = Sizes(
    # From a policy over a few actions to a vocabulary.
    softmax=_modes(
        (
            (65536, 2),
            (65536, 8),
            (65536, 16),
            (16384, 64),
            (8192, 256),
            (2048, 1024),
            (512, 8192),
            (128, 32000),
            (32, 131072),
        )
    ),
    one_tau=_modes(_FEW_CPU),
    family=_modes(_FEW_CPU),
    cross_entropy=((4096, 1000), (128, 32000), (32, 131072)),
    draws=_CPU_DRAWS,
    greedy=_CPU_DRAWS,
    top_k=(),
    filters=_CPU_FILTERS,
    scaling=_SCALING,
    quick=((64, 8), (4, 1000)),
    check_first=False,
)

_FILLED = tuple((FILLED, v) for v in (1024, 8192, 32000, 131072, 262144))
_FEW = ((FILLED, 1024), (FILLED, 131072))
_LARGE = ((512, 131072, "float32"), (1024, 131072, "bfloat16"))
_ACCELERATOR = Sizes(
    softmax={
        **_modes(((65536, 8), (2048, 1024), *_FILLED), "forward", "backward"),
        "value_and_grad": _FEW,
    },
    one_tau=_modes(((FILLED, 131072),), "forward"),
    family=_modes(_FEW),
    cross_entropy=((4096, 1000), *((FILLED, v) for v in (1024, 32000, 131072, 262144))),
    draws=(
        (1, 32000, "float32"),
        (64, 131072, "float32"),
        (65536, 1024, "float32"),
        (2098, 32000, "float32"),
        *_LARGE,
    ),
    greedy=((64, 131072, "float32"), *_LARGE),
    top_k=((64, 131072, "float32"), *_LARGE),
    filters=((8, 32000, "float32"), _LARGE[0]),
    scaling=_SCALING,
    # Rows that fill no tile, classes that end in the middle of one.
    quick=((64, 8), (130, 4099), (3, 131071)),
    check_first=True,
)

SIZES = {"cpu": _CPU, "gpu": _ACCELERATOR, "tpu": _ACCELERATOR}


def of_dtype(sizes: tuple[Size, ...], dtype: str) -> list[Size]:
    """Sizes with their rows, in this dtype."""
    size = jnp.dtype(dtype).itemsize
    return [(rows or -(-FILL // (size * v)), v) for rows, v in sizes]


def fills(case: Case) -> bool:
    """Whether the logits of a case fill the bytes."""
    return case.rows * case.classes * jnp.dtype(case.dtype).itemsize >= FILL
