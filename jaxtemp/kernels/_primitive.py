"""A kernel over rows as a JAX primitive: typing, batching and lowering, once for all.

Operands are wide (`[..., V]`) or one number a row (`[...]`); all batch axes lead, so
`vmap` only adds one more. What runs is chosen when a program is lowered: by platform,
and by `implementation` where the caller insists.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.interpreters import batching, mlir

from . import _mosaic_gpu, _partition

# `jax.extend.core` has the class under its name, but imports all of Pallas with it.
Primitive: Any = type(lax.add_p)


def available() -> dict[str, str]:
    """Each implementation's name, with "available" or the reason why it is not.

    Returns:
        A dictionary to show in a bug report: `{"xla": "available", ...}`.

    Examples:
        >>> from jaxtemp import kernels
        >>> kernels.available()["xla"]
        'available'
    """
    return {
        "xla": "available",
        "mosaic_gpu": _mosaic_gpu.state(),
        "mosaic_tpu": _on_tpu(),
    }


@functools.cache
def _on_tpu() -> str:
    try:
        devices = jax.devices()
    except RuntimeError as error:
        return f"no device can be used: {error}"
    if any(device.platform == "tpu" for device in devices):
        return "available"
    return "no TPU in this process; a program that is lowered for one uses it"


def deferred(module: str, name: str) -> Callable[..., tuple]:
    """A form whose module is imported when it is lowered: Pallas takes a second.

    Args:
        module: The module's full name.
        name: The function's name.
    """

    def form(*operands, **params):
        return getattr(importlib.import_module(module), name)(*operands, **params)

    return form


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
        if name != "xla":
            try:
                form = self._form(platform, name)
                return _partition.lower(platform, ctx, form, operands, params)
            except _build_errors() as error:
                if implementation is not None:
                    raise
                _warn_once(self.primitive.name, name, str(error))
        plain = self._forms.get((platform, "xla"), self.xla)
        return mlir.lower_fun(plain, multiple_results=True)(ctx, *operands, **params)

    def _form(self, platform: str | None, name: str) -> Callable[..., tuple]:
        if (platform, name) in self._forms:
            return self._forms[platform, name]
        raise ValueError(
            f"`implementation` {name!r} does not run on {platform or 'this'} "
            f"platform, got it for {self.primitive.name}; "
            "pass `implementation=None` for the fastest that works."
        )

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


def _build_errors() -> tuple[type[Exception], ...]:
    """What Pallas raises when a kernel cannot be built."""
    try:
        from jax.experimental.pallas.tpu import LoweringException
    except ImportError:
        return ImportError, NotImplementedError
    return ImportError, NotImplementedError, LoweringException


@functools.cache
def _warn_once(kernel: str, name: str, reason: str) -> None:
    warnings.warn(
        f"{kernel}: the {name} kernel could not be built, so XLA's form runs: {reason}",
        stacklevel=2,
    )


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
