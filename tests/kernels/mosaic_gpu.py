"""Mosaic GPU kernels in tests: interpreted on a CPU, and found in lowered programs.

Interpreted, a kernel's arithmetic, its masks and the exchange between its warpgroups
are real; registers, shared memory and speed are not.
"""

import collections
import contextlib
import functools
import re

import jax
import pytest

from jaxtemp.kernels import _mosaic_gpu, _row_program, _tiles

needed = pytest.mark.skipif(
    _mosaic_gpu.version() < (0, 12),
    reason="JAX interprets Mosaic GPU kernels as they are written here from 0.12 on",
)
# Numbers that a thread may hold: the split forces several warpgroups, and two reads.
HELD = {"as chosen": _tiles._HELD, "split": 8}


def form(kernel):
    """A kernel's form for Mosaic GPU."""
    return kernel._forms["cuda", "mosaic_gpu"]


@contextlib.contextmanager
def interpreter():
    """Interpret all that is called here."""
    from jax.experimental.pallas import mosaic_gpu as plgpu

    def load_parts(ref, layout, shape):
        del layout
        return plgpu.load(ref, optimized=False).reshape(shape)

    def store_parts(ref, value):
        plgpu.store(ref, value.reshape(-1), optimized=False)

    with pytest.MonkeyPatch.context() as patch:
        # It knows no reference in another shape.
        patch.setattr(_mosaic_gpu, "load_parts", load_parts)
        patch.setattr(_mosaic_gpu, "store_parts", store_parts)
        with plgpu.force_gpu_interpret_mode(plgpu.InterpretGPUParams()):
            yield


@contextlib.contextmanager
def interpreted(kernels):
    """Run kernels, wherever an op calls them outside `jit`, in the interpreter."""

    def run(kernel, *operands, implementation, **params):
        del implementation
        return list(form(kernel)(*operands, **params))

    with pytest.MonkeyPatch.context() as patch, interpreter():
        for kernel in kernels:
            patch.setattr(kernel.primitive, "impl", functools.partial(run, kernel))
        yield


def share_rows(patch, *, multiprocessors=132, warpgroups=1):
    """Let blocks share rows that are long for what a thread may hold."""
    split = functools.partial(_tiles.split, multiprocessors=multiprocessors)
    patch.setattr(_tiles, "_HELD", HELD["split"])
    patch.setattr(_tiles, "_ALONE", 2)
    patch.setattr(_tiles, "_WARPGROUPS", warpgroups)
    patch.setattr(_row_program, "split", split)


def _lowered(f, arguments) -> str:
    return jax.jit(f).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()


def count(f, *arguments):
    """How many kernels of each name a program for CUDA calls."""
    pattern = r"custom_call @mosaic_gpu.*?jaxtemp_(\w+?)_mosaic_gpu"
    return collections.Counter(re.findall(pattern, _lowered(f, arguments)))


def moved(f, *arguments):
    """The bytes that each kernel of a program says it moves, the most first."""
    pattern = r"cost_estimate_json.*?bytes_accessed\\22: (\d+)"
    found = map(int, re.findall(pattern, _lowered(f, arguments)))
    return sorted(found, reverse=True)
