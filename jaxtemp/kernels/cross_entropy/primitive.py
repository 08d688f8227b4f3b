"""Primitives: cross-entropy along rows, and its Jacobian applied from either side.

`push` and `pull` are transposes of each other, linear in their last two operands. Both
take what `forward` found of the rows, and trust that it is of the same rows.
"""

from __future__ import annotations

import functools

import jax
from jax.interpreters import ad

from ..._rows import Rows
from .. import _mosaic_gpu
from .._primitive import RowKernel, deferred
from ..softmax.cpu import CpuRows
from . import cpu, xla


def _kernel(name: str, form, **on_cpu) -> RowKernel:
    """A kernel of a tree of operands: `None`, where an option is not used, is none."""

    def on_leaves(*leaves, tree, **options):
        return form(*jax.tree.unflatten(tree, leaves), **options)

    kernel = RowKernel(f"jaxtemp_{name}", functools.partial(on_leaves, rows=Rows()))
    kernel.lower_to("cpu", functools.partial(on_leaves, rows=CpuRows(), **on_cpu))
    return kernel


def _add_tpu(kernel: RowKernel, name: str) -> None:
    form = deferred(f"{__package__}.mosaic_tpu", name)

    def on_leaves(*leaves, tree, cap):
        return form(*jax.tree.unflatten(tree, leaves), cap=cap)

    kernel.lower_to("tpu", on_leaves, "mosaic_tpu")


_forward = _kernel("cross_entropy", xla.forward, others=cpu.others)
_push = _kernel("cross_entropy_push", xla.push)
_pull = _kernel("cross_entropy_pull", xla.pull, total=cpu.total)
_mosaic_gpu.register(_forward, deferred(f"{__package__}.mosaic_gpu", "forward"))
_mosaic_gpu.register(_pull, deferred(f"{__package__}.mosaic_gpu", "pull"))
_add_tpu(_forward, "forward")
_add_tpu(_pull, "pull")


def _call(kernel: RowKernel, operands: tuple, **params) -> list[jax.Array]:
    leaves, tree = jax.tree.flatten(operands)
    return kernel(*leaves, tree=tree, **params)


def forward(z, tau, target, *, cap, implementation) -> list[jax.Array]:
    """See `xla.forward`."""
    operands = z, tau, target
    return _call(_forward, operands, cap=cap, implementation=implementation)


def push(z, tau, found, target, dz, dtau, *, cap, implementation) -> list[jax.Array]:
    """See `xla.push`."""
    operands = z, tau, found, target, dz, dtau
    return _call(_push, operands, cap=cap, implementation=implementation)


def _transpose(other: RowKernel, cotangents, *operands, **params):
    """The rule of a kernel whose transpose is `other`."""
    *known, first, second = operands
    given = [ad.instantiate_zeros(ct) for ct in cotangents]
    found = other(*known, *given, **params)
    linear = map(ad.is_undefined_primal, (first, second))
    back = [
        x if is_linear else None for x, is_linear in zip(found, linear, strict=True)
    ]
    return [*(None for _ in known), *back]


ad.primitive_transposes[_push.primitive] = functools.partial(_transpose, _pull)
ad.primitive_transposes[_pull.primitive] = functools.partial(_transpose, _push)


def define_derivatives(tangents, cotangents) -> None:
    """Differentiate `push` and `pull` as if they computed these, which know no `found`.

    Args:
        tangents: A function of the operands of `push` but `found`, with its results.
        cotangents: The same for `pull`.
    """
    for kernel, formula in ((_push, tangents), (_pull, cotangents)):
        ad.primitive_jvps[kernel.primitive] = functools.partial(_jvp, kernel, formula)


def _jvp(kernel, formula, primals, tangents, *, tree, cap, implementation):
    out = kernel(*primals, tree=tree, cap=cap, implementation=implementation)
    tangents = [ad.instantiate_zeros(t) for t in tangents]

    def function(*leaves):
        z, tau, _, *others = jax.tree.unflatten(tree, leaves)
        return formula(z, tau, *others, cap=cap)

    _, dout = jax.jvp(function, tuple(primals), tuple(tangents))
    return out, list(dout)
