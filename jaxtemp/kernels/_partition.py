"""Kernels whose operands a mesh splits over their rows: each device runs its own.

The partitioner cannot look into a kernel: without a rule it would refuse the program or
gather the operands. Devices need nothing of each other, so any axis of the batch may be
split, and no other one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
from jax.interpreters import mlir
from jax.sharding import NamedSharding, PartitionSpec


def lower(platform: str | None, ctx, form: Callable[..., tuple], operands, params):
    """Lower `form`, one program for every device's rows.

    Raises:
        NotImplementedError: Several devices share the rows in a way in which the
            platform cannot run a kernel.
    """

    def local(*operands):
        return tuple(form(*operands, **params))

    devices = getattr(ctx.module_context.axis_context, "num_devices", 1)
    if devices == 1:  # or inside `shard_map`, where operands are a device's own
        return mlir.lower_fun(local, multiple_results=True)(ctx, *operands)
    if ctx.avals_in[0].sharding.mesh.are_all_axes_explicit:
        by_types = mlir.lower_fun(_by_types(local, ctx), multiple_results=True)
        return by_types(ctx, *operands)
    if platform == "tpu":  # jax-ml/jax#38196
        raise NotImplementedError(
            "XLA cannot split a TPU kernel between devices by itself; "
            "use `jax.shard_map` or a mesh with explicit axes"
        )
    if ctx.module_context.lowering_parameters.for_export:
        raise NotImplementedError("a rule for the partitioner cannot be exported")
    mesh = next((m for x in ctx.avals_in if not (m := x.sharding.mesh).empty), None)
    if mesh is None:
        raise NotImplementedError("the mesh of its operands is unknown")
    by_rule = mlir.lower_fun(_by_rule(local, ctx), multiple_results=True)
    return by_rule(_with_mesh(ctx, mesh), *operands)


def _by_types(local: Callable, ctx) -> Callable[..., tuple]:
    """`local` on each device, where the operands' types say how they are sharded."""
    batch = min(x.ndim for x in (*ctx.avals_in, *ctx.avals_out))
    operands, results = (
        [PartitionSpec(*x.sharding.spec) for x in avals]
        for avals in (ctx.avals_in, ctx.avals_out)
    )
    if any(axis is not None for spec in (*operands, *results) for axis in spec[batch:]):
        raise NotImplementedError(
            "the classes are split between devices; use `axis_name` in `jax.shard_map`"
        )
    return jax.shard_map(
        local,
        mesh=ctx.avals_in[0].sharding.mesh,
        in_specs=tuple(operands),
        out_specs=tuple(results),
        check_vma=False,
    )


def _by_rule(local: Callable, ctx) -> Callable[..., tuple]:
    """`local` on each device, of what the partitioner finds best."""
    from jax.experimental.custom_partitioning import custom_partitioning

    operands, results = ([x.shape for x in xs] for xs in (ctx.avals_in, ctx.avals_out))
    batch = min((*operands, *results), key=len)

    def by_rows(x):
        return NamedSharding(
            x.sharding.mesh, PartitionSpec(*x.sharding.spec[: len(batch)])
        )

    def partition(mesh, operands, results):
        return mesh, local, tuple(map(by_rows, results)), tuple(map(by_rows, operands))

    rule, whole = _rule(batch, operands, results)
    function = custom_partitioning(local)
    function.def_partition(
        partition, sharding_rule=rule, need_replication_factors=whole
    )
    return function


def _rule(
    batch: tuple[int, ...], operands: list[tuple], results: list[tuple]
) -> tuple[str, tuple[str, ...]]:
    """Which axes go together, in Shardy's notation, and which are never split."""
    whole = []

    def axis(k: int, size: int) -> str:
        if k < len(batch) and size == batch[k]:
            return f"rows{k}"
        whole.append(f"whole{len(whole)}")
        return whole[-1]

    def side(shapes):
        return ", ".join(
            " ".join(axis(k, size) for k, size in enumerate(shape)) for shape in shapes
        )

    return f"{side(operands)} -> {side(results)}", tuple(whole)


def _with_mesh(ctx, mesh):
    """The context with a mesh, of which the partitioner's callback asks for devices.

    It uses no more than their number. JAX leaves both out of the context where nothing
    in the jaxpr itself needs devices.
    """
    known = dataclasses.replace(
        ctx.module_context.axis_context,
        device_assignment=(jax.devices()[0],) * mesh.size,
        abstract_mesh=mesh,
    )
    return ctx.replace(module_context=ctx.module_context.replace(axis_context=known))
