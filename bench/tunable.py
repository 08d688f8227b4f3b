"""What can be tuned: every kernel at sizes that fill a chip, and how it is called."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bench.sizes import DTYPES, FILLED, of_dtype
from jaxtemp.kernels.cross_entropy.target import Target
from jaxtemp.kernels.cross_entropy.xla import Found

SIZES = tuple((FILLED, v) for v in (1024, 8192, 32000, 131072, 262144))


class Kernel(NamedTuple):
    """A kernel: its modules, its operands, and how they are called.

    Operands: `z` has classes, `r` is a number of each row, `i` a label, `k` half a key.
    """

    modules: str  # of `jaxtemp.kernels`, as far as they differ
    operands: str
    call: Callable[..., Any]


def _draw(module: Any, z: Any, tau: Any, *key: Any) -> Any:
    return module.forward(z, tau, *(half[:, None] for half in key), first=False)


def _kth(module: Any, z: Any, k: Any) -> Any:
    return module.forward(z, k, first=True)


def _top_p(module: Any, z: Any, tau: Any, *key: Any) -> Any:
    none, p = jnp.zeros_like(tau), jnp.full_like(tau, 0.9)
    filters = {"use_k": False, "use_p": True, "use_min": False}
    bound = none, none.astype(jnp.int32)
    return module.forward(z, tau, *bound, p, none, *key, **filters, first=False)


def _loss(module: Any, z: Any, tau: Any, labels: Any) -> Any:
    return _on_leaves(module, "forward", (z, tau, _target(tau, labels)))


def _loss_pull(module: Any, z: Any, tau: Any, labels: Any) -> Any:
    found = Found(*[tau] * len(Found._fields))
    return _on_leaves(module, "pull", (z, tau, found, _target(tau, labels), tau, tau))


def _target(tau: Any, labels: Any) -> Target:
    return Target(labels, jnp.ones_like(tau))


def _on_leaves(module: Any, name: str, operands: tuple) -> Any:
    function = getattr(module, name)
    if module.__name__.endswith("mosaic_tpu"):
        return function(*operands, cap=None)
    leaves, tree = jax.tree.flatten(operands)
    return function(*leaves, tree=tree, cap=None)


KERNELS = {
    "softmax": Kernel("softmax.", "zr", lambda m, *x: m.forward(*x, log=False)),
    "softmax_pull": Kernel("softmax.", "zrz", lambda m, *x: m.pull(*x, log=False)),
    "log_softmax_pull": Kernel("softmax.", "zrz", lambda m, *x: m.pull(*x, log=True)),
    "moments": Kernel("moments.", "zr", lambda m, *x: m.forward(*x)),
    "categorical": Kernel("categorical.", "zrkk", _draw),
    "greedy": Kernel("categorical.greedy_", "zrkk", _draw),
    "kth": Kernel("kth.", "zi", _kth),
    "sample": Kernel("sample.", "zrkk", _top_p),
    "cross_entropy": Kernel("cross_entropy.", "zri", _loss),
    "cross_entropy_pull": Kernel("cross_entropy.", "zri", _loss_pull),
}


class Task(NamedTuple):
    """A kernel at a size in a dtype."""

    kernel: str
    rows: int
    classes: int
    dtype: str

    @property
    def label(self) -> str:
        return f"{self.kernel} {self.rows}x{self.classes} {self.dtype}"

    def function(self, platform: str) -> Callable[..., Any]:
        """The kernel's form for a platform."""
        kernel = KERNELS[self.kernel]
        name = f"jaxtemp.kernels.{kernel.modules}mosaic_{platform}"
        return partial(kernel.call, importlib.import_module(name))

    def shapes(self) -> list[jax.ShapeDtypeStruct]:
        """The shapes of its operands."""
        rows = (self.rows,)
        kinds = {"z": ((self.rows, self.classes), self.dtype), "r": (rows, "float32")}
        kinds |= {"i": (rows, "int32"), "k": (rows, "uint32")}
        operands = KERNELS[self.kernel].operands
        return [jax.ShapeDtypeStruct(*kinds[kind]) for kind in operands]

    def arrays(self, device: Any, rng: np.random.Generator) -> list[jax.Array]:
        """Random operands, made on the device."""

        def make(key: jax.Array, x: jax.ShapeDtypeStruct) -> jax.Array:
            if x.dtype == jnp.uint32:
                return jax.random.bits(key, x.shape, x.dtype)
            if x.dtype == jnp.int32:
                return jax.random.randint(key, x.shape, 0, self.classes)
            if len(x.shape) == 1:
                return jax.random.uniform(key, x.shape, x.dtype, 0.5, 2.0)
            return 3 * jax.random.normal(key, x.shape, x.dtype)

        key = jax.device_put(jax.random.key(int(rng.integers(1 << 31))), device)
        shapes = self.shapes()
        keys = jax.random.split(key, len(shapes))
        return jax.jit(lambda keys: [*map(make, keys, shapes)])(keys)


def tasks(names: Sequence[str]) -> list[Task]:
    """All sizes in all dtypes."""
    return [
        Task(name, *size, dtype)
        for name in names
        for dtype in DTYPES
        for size in of_dtype(SIZES, dtype)
    ]
