"""Draws from softmax(z / τ) on a TPU: one read of the logits, then one block of them.

A first kernel sums the weights of blocks of 128 classes, the width of a row of lanes.
From there on draws go down the same tree with the same random bits as those of
`xla.py`, and their ids differ only where a sum's rounding decides. Blocks on the way
come through a second kernel, as XLA's gathers on a TPU move a tile for each number.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from ..._blocks import WIDTH
from ..._scale import exponent_scale
from .._mosaic_tpu import RowOp, in_hbm, over_rows, supported
from .._mosaic_tpu_block import LANES, Block
from . import xla
from .xla import Tree, draw, levels

# So many indices of blocks fit the scalar memory, and their blocks take 32 MiB.
_DRAWS = 2**16


def forward(z, tau, key0, key1, *, first: bool) -> tuple[jax.Array]:
    """One id for every key: `[..., n]` for keys `[..., n]`, -1 where none can be."""
    if not fits(z, key0.size):
        return xla.forward(z, tau, key0, key1, first=first)
    scale = exponent_scale(tau)
    (masses,), _ = block_masses(z, scale, name="categorical")
    greedy = (tau == 0)[..., None] if first else None
    return (draw(BlockTree(z, levels(masses), scale), (key0, key1), greedy),)


def fits(z: jax.Array, draws: int) -> bool:
    """Whether so many draws from rows of blocks can be made by these kernels."""
    return supported(z) and z.shape[-1] > WIDTH and draws <= _DRAWS


def block_masses(
    z: jax.Array,
    scale: jax.Array,
    limits: Sequence[jax.Array] = (),
    weigh: Callable[..., tuple] | None = None,
    *,
    sums: int = 1,
    top: jax.Array | None = None,
    find_top: bool = False,
    name: str,
) -> tuple[list[jax.Array], list[jax.Array]]:
    """The masses of blocks of classes, about the largest logit of the row.

    Args:
        z: Logits `[..., V]`.
        scale: 1/τ of every row.
        limits: More numbers of rows, float32.
        weigh: `weigh(weight, z, place, below, *limits)`: the terms whose sums over each
            block are wanted, of which there are `sums`; the weights by default.
        sums: How many there are.
        top: The largest logit of every row, if it is known.
        find_top: Whether it is wanted.
        name: The kernel's name.

    Returns:
        The sums `[..., blocks]`, and the largest logits, if wanted.
    """
    known = top is not None
    op = RowOp(
        start=(-jnp.inf,),
        read=None if known else _largest,
        write=functools.partial(_write_sums, weigh, known),
        finish=(lambda numbers, state: state) if find_top else None,
        placed=weigh is not None,
    )
    return over_rows(
        op,
        (z,),
        (scale, *limits, top) if known else (scale, *limits),
        (jnp.float32,) * sums,
        columns=int(find_top),
        per=WIDTH,
        shared=True,
        name=name,
    )


def _largest(block: Block, numbers, state):
    del numbers
    return (jnp.maximum(state[0], block.max()),)


def _write_sums(weigh, known: bool, block: Block, numbers, state):
    scale, *limits = numbers
    top = limits.pop() if known else state[0]
    sum_blocks(block, weigh, scale, top, limits)
    return state


def sum_blocks(block: Block, weigh, scale, top, limits=()) -> None:
    """Store the sums of blocks of WIDTH of what `weigh` makes of a block's classes."""
    count = block.plan.chunk // WIDTH  # blocks of a chunk
    lane = lax.broadcasted_iota(jnp.int32, (block.plan.group, LANES), dimension=1)

    def terms(j):
        z, *place = block.chunk(j)
        below = z - top
        weight = jnp.exp(below * scale)
        return weigh(weight, z, *place, below, *limits) if weigh else (weight,)

    def add(j, found):
        return tuple(
            _put_sums(term, sums, lane, (j * count) % LANES)
            for term, sums in zip(terms(j), found, strict=True)
        )

    def store(n, _):
        first = n * (LANES // count)
        last = jnp.minimum(first + LANES // count, block.chunks)
        nothing = (jnp.zeros_like(lane, jnp.float32),) * len(block.results)
        found = lax.fori_loop(first, last, add, nothing)
        for ref, sums in zip(block.results, found, strict=True):
            width = min(LANES, ref.shape[1])
            start = pl.multiple_of(n * width, width)
            ref[block.rows, pl.ds(start, width)] = sums[:, :width]

    lax.fori_loop(0, pl.cdiv(block.results[0].shape[1], LANES), store, None)


def _put_sums(term: jax.Array, sums: jax.Array, lane: jax.Array, first) -> jax.Array:
    """`sums` with those of a chunk's blocks, from lane `first` on."""
    for k in range(term.shape[1] // WIDTH):
        part = term[:, k * WIDTH : (k + 1) * WIDTH]
        part = jnp.sum(part, axis=1, keepdims=True)
        sums = jnp.where(lane == first + k, part, sums)
    return sums


class BlockTree(Tree):
    """The tree of rows of blocks, which a kernel takes out of them."""

    def masses_below(self, level, node):
        return _children(self.masses[level - 1], node, 0)

    def classes_below(self, node):
        return _children(self.logits, node, -jnp.inf)

    def part(self, parts, index):
        own = lax.broadcasted_iota(jnp.int32, parts.shape, parts.ndim - 2)
        return jnp.sum(jnp.where(own == index[..., None, None], parts, 0), axis=-2)


def _children(nodes, index, fill: float) -> jax.Array:
    """What `xla.children` gives, in float32."""
    *batch, count = nodes.shape
    if count <= WIDTH:
        return xla.children(nodes, index, fill)
    draws = index.shape[-1]
    blocks = _take(nodes.reshape(-1, count), index.reshape(-1, draws), fill)
    return blocks.reshape(*batch, draws, WIDTH)


def _take(wide: jax.Array, index: jax.Array, fill: float) -> jax.Array:
    """Blocks of rows by their index: `[R, n, WIDTH]`, of `[R, V]` and `[R, n]`.

    What memory moves is a tile. A step takes as many rows as a tile has, each with a
    tile of its own, of which it is one row.
    """
    (rows, count), draws = wide.shape, index.shape[1]
    tile = 32 // wide.dtype.itemsize
    steps = pl.cdiv(rows, tile)
    index = jnp.clip(index, 0, pl.cdiv(count, WIDTH) - 1)
    index = jnp.pad(index, [(0, steps * tile - rows), (0, 0)]).reshape(-1)

    def own(k, i, j, index):
        return i, index[(i * tile + k) * draws + j]

    def pick(index, *refs):
        *tiles, out = refs
        first = pl.program_id(0) * tile
        row, lane = (lax.broadcasted_iota(jnp.int32, (tile, WIDTH), d) for d in (0, 1))
        found = jnp.zeros((tile, WIDTH), jnp.float32)
        for k, block in enumerate(tiles):
            start = index[(first + k) * draws + pl.program_id(1)] * WIDTH
            inside = jnp.where(
                lane < count - start, block[...].astype(jnp.float32), fill
            )
            found = jnp.where(row == k, inside, found)
        out[0] = found

    moved = steps * draws * tile * WIDTH * (tile * wide.dtype.itemsize + 4)
    out = pl.pallas_call(
        pick,
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(steps, draws),
            in_specs=[
                pl.BlockSpec((tile, WIDTH), functools.partial(own, k))
                for k in range(tile)
            ],
            out_specs=pl.BlockSpec((1, tile, WIDTH), lambda i, j, index: (j, i, 0)),
        ),
        out_shape=jax.ShapeDtypeStruct(
            (draws, rows, WIDTH),
            jnp.float32,
            manual_axis_type=jax.typeof(wide).manual_axis_type,
        ),
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary")
        ),
        cost_estimate=pl.CostEstimate(0, 0, moved),
        name="take_blocks",
    )(index, *[in_hbm(wide)] * tile)
    return jnp.moveaxis(out, 0, 1)
