"""A kernel over rows as a JAX primitive: typing, batching and lowering, once for all.

Operands are wide (`[..., V]`) or one number a row (`[...]`); all batch axes lead, so
`vmap` only adds one more. What runs is chosen when a program is lowered: by platform,
and by `implementation` where the caller insists.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.interpreters import batching, mlir

# `jax.extend.core` has the class under its name, but imports all of Pallas with it.
Primitive: Any = type(lax.add_p)

_ABSENT = "this version has no such kernel"


def available() -> dict[str, str]:
    """Each implementation's name, with "available" or the reason why it is not.

    Returns:
        A dictionary to show in a bug report: `{"xla": "available", ...}`.

    Examples:
        >>> from jaxtemp import kernels
        >>> kernels.available()["xla"]
        'available'
    """
    return {"xla": "available", "mosaic_gpu": _ABSENT, "mosaic_tpu": _ABSENT}


class RowKernel:
    """A primitive whose operands and results are rows.

    Args:
        name: The primitive's name in a jaxpr.
        xla: `xla(*operands, **params) -> tuple of arrays`, in plain JAX: it defines
            the results, their types and shardings, and runs where nothing else is
            registered.
    """

    def __init__(self, name: str, xla: Callable[..., tuple[jax.Array, ...]]):
        self.xla = xla
        self.primitive = Primitive(name)
        self.primitive.multiple_results = True
        self.primitive.def_impl(self._eager)
        self.primitive.def_abstract_eval(self._types)
        batching.primitive_batchers[self.primitive] = self._batch
        self._forms: dict[tuple[str | None, str], Callable[..., tuple]] = {}
        self.lower_to(None, xla)

    def lower_to(
        self, platform: str | None, form: Callable[..., tuple], name: str = "xla"
    ) -> None:
        """Run `form`, which computes what `xla` computes, on one platform.

        Args:
            platform: The platform, or `None` for every one that has no form of its own.
            form: The computation, in JAX or Pallas.
            name: The implementation's name. A form that is not XLA's is preferred.
        """
        self._forms[platform, name] = form
        rule = functools.partial(self._lower, platform)
        mlir.register_lowering(self.primitive, rule, platform=platform)

    def __call__(
        self, *operands: jax.Array, implementation: str | None = None, **params
    ) -> list[jax.Array]:
        return self.primitive.bind(
            *_vary_alike(operands), implementation=implementation, **params
        )

    def _lower(self, platform, ctx, *operands, implementation, **params):
        own = [n for where, n in self._forms if where == platform and n != "xla"]
        name = implementation or next(iter(own), "xla")
        form = self._forms.get((platform, name)) or self._forms.get((None, name))
        if form is None:
            raise ValueError(
                f"`implementation` {name!r} does not run on {platform or 'this'} "
                f"platform, got it for {self.primitive.name}; "
                "pass `implementation=None` for the fastest that works."
            )
        lower = mlir.lower_fun(form, multiple_results=True)
        return lower(ctx, *operands, **params)

    def _eager(self, *operands, **params):
        return _compiled(self.primitive, tuple(sorted(params.items())))(*operands)

    def _types(self, *avals, implementation, **params):
        del implementation  # every form has the types of XLA's
        results = jax.make_jaxpr(functools.partial(self.xla, **params))(*avals)
        return [aval.strip_weak_type() for aval in results.out_avals]

    def _batch(self, operands, axes, **params):
        size = next(
            x.shape[axis]
            for x, axis in zip(operands, axes, strict=True)
            if axis is not None
        )
        leading = [
            jnp.broadcast_to(x, (size, *x.shape))
            if axis is None
            else jnp.moveaxis(x, axis, 0)
            for x, axis in zip(operands, axes, strict=True)
        ]
        results = self.primitive.bind(*leading, **params)
        return results, [0] * len(results)


@functools.cache
def _compiled(primitive: Any, params: tuple):
    return jax.jit(functools.partial(primitive.bind, **dict(params)))


def _vary_alike(operands):
    """Inside `shard_map`, mark every operand as varying over all the axes any does."""
    varying = [_varying_axes(x) for x in operands]
    every = frozenset().union(*varying)
    return [
        lax.pcast(x, tuple(every - own), to="varying") if every - own else x
        for x, own in zip(operands, varying, strict=True)
    ]


def _varying_axes(x) -> frozenset[str]:
    return jax.typeof(x).manual_axis_type.varying
