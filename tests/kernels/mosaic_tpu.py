"""What tests of TPU kernels share: small blocks, interpreted, and what they move."""

import contextlib
import itertools
import math
from functools import partial

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxtemp.kernels import _mosaic_tpu, _mosaic_tpu_block
from jaxtemp.kernels.categorical import greedy_mosaic_tpu as greedy
from jaxtemp.kernels.categorical import mosaic_tpu as categorical
from jaxtemp.kernels.cross_entropy import mosaic_tpu as cross_entropy
from jaxtemp.kernels.cross_entropy.target import Target
from jaxtemp.kernels.cross_entropy.xla import Found
from jaxtemp.kernels.kth import mosaic_tpu as kth
from jaxtemp.kernels.moments import mosaic_tpu as moments
from jaxtemp.kernels.sample import mosaic_tpu as sample
from jaxtemp.kernels.softmax import mosaic_tpu as softmax
from tests.kernels.draws import KINDS

# Every kernel, and its operands: logits or what is like them, numbers of rows.
KERNELS = {
    "softmax": (partial(softmax.forward, log=False), "zr"),
    "log_softmax": (partial(softmax.forward, log=True), "zr"),
    "softmax push": (partial(softmax.push, log=False), "zrzr"),
    "log_softmax push": (partial(softmax.push, log=True), "zrzr"),
    "softmax pull": (partial(softmax.pull, log=False), "zrz"),
    "log_softmax pull": (partial(softmax.pull, log=True), "zrz"),
    "moments": (moments.forward, "zr"),
    "categorical": (partial(categorical.forward, first=False), "zrkk"),
    "greedy": (partial(greedy.forward, first=True), "zrkk"),
    "sample": (partial(sample.forward, first=True, **KINDS["all"]), "zrrirrww"),
    "sample by reads": (
        partial(sample.by_reads, first=True, **KINDS["all"]),
        "zrrirrww",
    ),
    "kth": (partial(kth.forward, first=True), "zi"),
    "cross_entropy": (lambda z, r, *t: _loss(z, r, Target(*t)), "zrirr"),
    "soft cross_entropy": (lambda z, r, *t: _loss(z, r, Target(*t)), "zrzrr"),
    "cross_entropy pull": (lambda z, r, *t: _loss_pull(z, r, Target(*t)), "zrirr"),
    "soft cross_entropy pull": (lambda z, r, *t: _loss_pull(z, r, Target(*t)), "zrzrr"),
}
_loss = partial(cross_entropy.forward, cap=30.0)


def _loss_pull(z, r, target):
    found = Found(*[r] * len(Found._fields))
    return cross_entropy.pull(z, r, found, target, r, r, cap=None)


def shapes_of(name: str, rows: int, classes: int, dtype: str) -> list:
    """The shapes of a kernel's operands."""
    kinds = {"z": ((rows, classes), dtype), "r": ((rows,), "float32")}
    kinds |= {"i": ((rows,), "int32"), "w": ((rows,), "uint32")}
    kinds |= {"k": ((rows, 1), "uint32")}
    return [jax.ShapeDtypeStruct(*kinds[kind]) for kind in KERNELS[name][1]]


# The interpreter's programs are run once, on little: most of their time is compiling.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@contextlib.contextmanager
def interpreted(monkeypatch, split: bool = False):
    """Run kernels on a CPU, on small blocks."""
    small_blocks(monkeypatch, split)
    plain = partial(pl.pallas_call, interpret=True)
    monkeypatch.setattr(pl, "pallas_call", plain)
    # A CPU has one memory.
    monkeypatch.setattr(pltpu, "with_memory_space_constraint", lambda x, space: x)
    yield


def small_blocks(monkeypatch, split: bool) -> None:
    """Chunks of 128 classes; with `split`, longer rows are cut into blocks of them.

    And rows that are too short for a kernel have one all the same.
    """
    monkeypatch.setattr(_mosaic_tpu, "FEWEST", 1)
    monkeypatch.setattr(_mosaic_tpu_block, "CHUNK", 128)
    if split:
        monkeypatch.setattr(_mosaic_tpu_block, "BLOCKS", 1)


def on_cpu(monkeypatch, *kernels) -> None:
    """Let programs for a CPU use these kernels' forms for a TPU."""
    for kernel in kernels:
        form = kernel._forms["tpu", "mosaic_tpu"]
        monkeypatch.setitem(kernel._forms, ("cpu", "mosaic_tpu"), form)


def rows_of(dtype: str, classes: int, count: int):
    """Rows over all temperatures, masked by -inf alone."""
    from tests import cases  # needs mpmath, which whoever compiles for a TPU may lack

    rows = cases.random_rows(dtype, classes, count)
    if rows.where is None:
        return rows
    logits = np.where(rows.where, rows.logits, -np.inf).astype(rows.logits.dtype)
    return cases.Rows(logits, rows.temperature, None)


def pallas_calls(form, *operands) -> list:
    """The kernels that a form calls."""
    return list(_calls(jax.make_jaxpr(form)(*operands).jaxpr))


def _calls(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name == "pallas_call":
            yield equation
            continue
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from _calls(inner)


def moved(call) -> int:
    """The bytes that a kernel moves: its blocks, wherever their index changes.

    What is a table of numbers a row is moved 128 lanes wide.
    """
    mapping = call.params["grid_mapping"]
    grid = list(itertools.product(*map(range, mapping.grid)))
    return sum(_bytes(block, grid) for block in mapping.block_mappings)


def _bytes(block, grid) -> int:
    index = block.index_map_jaxpr
    shape = block.array_aval.shape
    shape = (*shape[:-1], max(shape[-1], 128))
    sizes = [size.block_size for size in block.block_shape]
    table = sizes[-1] < 128
    total, before = 0, None
    for step in grid:
        at = jax.extend.core.jaxpr_as_fun(index)(*map(jnp.int32, step))
        place = tuple(map(int, at))
        if place != before:
            ends = [
                min(size, whole - k * size)
                for k, size, whole in zip(place, sizes, shape, strict=True)
            ]
            total += math.prod(ends[:-1]) * (128 if table else ends[-1])
        before = place
    return total * block.array_aval.dtype.itemsize
