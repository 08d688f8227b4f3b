"""Compile every TPU kernel for real chips, with libtpu and without a TPU.

`python -m tests.kernels.aot_tpu [CHIP ...]` prints each kernel, chip, shape and dtype
with the bytes that the compiled program accesses, in units of the logits, and counts
them. It fails if one does not compile, accesses more than its kernel states, or copies
an operand.
"""

import os

os.environ["JAX_PLATFORMS"] = "cpu"

import itertools
import re
import sys
import time
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import topologies
from jax.experimental.layout import Format, Layout
from jax.sharding import AxisType, Mesh, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

import jaxtemp
from tests.kernels.mosaic_tpu import KERNELS, pallas_calls, shapes_of

CHIPS = {"v5e": "v5e:2x2", "v6e": "v6e:2x2", "v5p": "v5p:2x2x1", "7x": "tpu7x:2x2x1"}
CLASSES = (1000, 32_000, 131_072, 262_144)
DTYPES = ("float32", "bfloat16")
ROWS = 512
# What the XLA part of a form moves besides, in bytes a row: the way down the tree, more
# block sums if they are summed with and without min-p, or the numbers of a row, once
# more, from which its id or bound is chosen.
DRAW = 80 * 2**10
BESIDES = {"categorical": DRAW, "greedy": 3 * 512, "kth": 3 * 512}
BESIDES["sample by reads"] = DRAW + 32 * 2**10


def compiled(form: Callable, shapes: list, device):
    """The program of one device for arrays whose classes lie side by side."""
    place = SingleDeviceSharding(device)

    def laid(x):
        order = Format(Layout(tuple(range(len(x.shape)))), place)
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=order)

    results = jax.tree.map(lambda x: laid(x).format, jax.eval_shape(form, *shapes))
    return jax.jit(form, out_shardings=results).lower(*map(laid, shapes)).compile()


def complaint(program, name: str, shapes: list) -> str | None:
    """What is wrong with a compiled program, if anything is."""
    form = KERNELS[name][0]
    calls = pallas_calls(form, *shapes)
    text = program.as_text()
    if text.count('custom_call_target="tpu_custom_call"') != len(calls):
        return "the program does not hold its kernels"
    stated = sum(call.params["cost_estimate"].bytes_accessed for call in calls)
    accessed = program.cost_analysis()["bytes accessed"]
    # Besides, each number of a row is put into a table or taken from one.
    numbers = [x for x in (*shapes, *jax.eval_shape(form, *shapes)) if x.size == ROWS]
    slack = 0.01 * stated + ROWS * ((2 + len(numbers)) * 512 + BESIDES.get(name, 0))
    if accessed > stated + slack:
        return f"{accessed:.0f} bytes are accessed, {stated} are stated"
    wide = ",".join(map(str, shapes[0].shape))
    if re.search(rf"= \w+\[{wide}\]\S* (copy|transpose|pad)\(", text):
        return "the logits are copied"
    return None


def check(name: str, chip: str, device, classes: int, dtype: str) -> bool:
    """Compile one kernel, print what came of it, and say whether it is as it should."""
    form, shapes = KERNELS[name][0], shapes_of(name, ROWS, classes, dtype)
    start = time.perf_counter()
    try:
        program = compiled(form, shapes, device)
    except jax.errors.JaxRuntimeError as error:
        wrong, accessed = str(error).splitlines()[0], float("nan")
    else:
        wrong = complaint(program, name, shapes)
        accessed = program.cost_analysis()["bytes accessed"]
    reads = accessed / (ROWS * classes * np.dtype(shapes[0].dtype).itemsize)
    line = f"{name:23} {chip:4} {ROWS}x{classes:<7} {dtype:9} {reads:6.3f} x logits"
    print(f"{line} {time.perf_counter() - start:5.2f} s  {wrong or 'ok'}", flush=True)
    return wrong is None


def sharded(chip: str, devices, kind: AxisType, mapped: bool) -> bool:
    """Whether rows split over four devices stay where they are, forward and back."""
    mesh = Mesh(np.array(devices).reshape(-1), ("d",), axis_types=(kind,))
    rows = NamedSharding(mesh, P("d"))
    shapes = [
        jax.ShapeDtypeStruct(shape, "float32", sharding=rows)
        for shape in ((ROWS, 1024), (ROWS,))
    ]

    def step(z, tau):
        value, pull = jax.vjp(jaxtemp.softmax, z, tau)
        return value, pull(value)

    if mapped:
        step = jax.shard_map(step, mesh=mesh, in_specs=P("d"), out_specs=P("d"))
    text = jax.jit(step).lower(*shapes).compile().as_text()
    moved = re.findall(r"(all-\w+|collective-\w+|reduce-scatter)(?:-start)?\(", text)
    kernels = text.count('custom_call_target="tpu_custom_call"')
    how = "in shard_map" if mapped else f"on {kind.name.lower()} axes"
    print(f"rows over 4 {chip} {how}: {kernels} kernels, {len(moved)} collectives")
    wanted = 2 if mapped or kind == AxisType.Explicit else 0
    return not moved and kernels == wanted


def main(chips: list[str]) -> int:
    """Compile everything; return the number of failures."""
    results = []
    for chip in chips or CHIPS:
        devices = topologies.get_topology_desc(
            platform="tpu", topology_name=CHIPS[chip]
        ).devices
        for name, classes, dtype in itertools.product(KERNELS, CLASSES, DTYPES):
            results.append(check(name, chip, devices[0], classes, dtype))
        results += [
            sharded(chip, devices, AxisType.Auto, mapped=False),
            sharded(chip, devices, AxisType.Auto, mapped=True),
            sharded(chip, devices, AxisType.Explicit, mapped=False),
        ]
    print(f"{sum(results)} of {len(results)} as they should be")
    return len(results) - sum(results)


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
