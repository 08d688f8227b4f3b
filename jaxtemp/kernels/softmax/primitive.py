"""Primitives: softmax along rows, and its Jacobian applied from either side.

`push` and `pull` are transposes of each other, linear in what they carry. They keep
nothing but the logits and the temperature.
"""

from __future__ import annotations

import functools

from jax.interpreters import ad

from ..._rows import Rows
from .. import _mosaic_gpu
from .._primitive import RowKernel, deferred
from . import xla
from .cpu import CpuRows


def _kernel(name: str, form) -> RowKernel:
    kernel = RowKernel(f"jaxtemp_{name}", functools.partial(form, rows=Rows()))
    kernel.lower_to("cpu", functools.partial(form, rows=CpuRows()))
    on_gpu = deferred(f"{__package__}.mosaic_gpu", form.__name__)
    _mosaic_gpu.register(kernel, on_gpu)
    on_tpu = deferred(f"{__package__}.mosaic_tpu", form.__name__)
    kernel.lower_to("tpu", on_tpu, "mosaic_tpu")
    return kernel


softmax = _kernel("softmax", xla.forward)
push = _kernel("softmax_push", xla.push)
pull = _kernel("softmax_pull", xla.pull)


def _transpose_push(cotangents, z, tau, dz, dtau, **params):
    (g,) = (ad.instantiate_zeros(ct) for ct in cotangents)
    to_z, to_tau = pull(z, tau, g, **params)
    return [
        None,
        None,
        to_z if ad.is_undefined_primal(dz) else None,
        to_tau if ad.is_undefined_primal(dtau) else None,
    ]


def _transpose_pull(cotangents, z, tau, g, **params):
    del g
    dz, dtau = (ad.instantiate_zeros(ct) for ct in cotangents)
    return [None, None, *push(z, tau, dz, dtau, **params)]


ad.primitive_transposes[push.primitive] = _transpose_push
ad.primitive_transposes[pull.primitive] = _transpose_pull
