"""The seven ops on eight devices: rows sharded, classes sharded, and both.

Values and gradients are compared with `tests.truth.Truth`, and what travels between
devices is read from the compiled program.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxtemp
from tests import cases
from tests.truth import OPS, VECTOR_OPS, Truth, mp_derivative

MESHES = {"8": ((8,), ("d",)), "2x4": ((2, 4), ("r", "c"))}
COLLECTIVES = r"all-reduce|all-gather|all-to-all|collective-\w+|reduce-scatter"


def mesh(name, kind=AxisType.Auto):
    assert jax.device_count() == 8
    shape, names = MESHES[name]
    return jax.make_mesh(shape, names, axis_types=(kind,) * len(names))


def traffic(compiled) -> list[tuple[str, int]]:
    """List each collective of a compiled program with the sizes of its results."""
    found = []
    pattern = rf"= (.*?) ({COLLECTIVES})(?:-start)?\("
    for shapes, collective in re.findall(pattern, compiled.as_text()):
        for dimensions in re.findall(r"\w\d+\[([\d,]*)\]", shapes):
            size = np.prod([int(n) for n in dimensions.split(",") if n], dtype=int)
            found.append((collective, int(size)))
    return found


@functools.cache
def sharded_case(classes):
    """64 random rows, masked both ways, the truth, and cotangents for every op."""
    rows = cases.random_rows("float32", classes + 1, 64)
    rows = cases.Rows(
        rows.logits[:, :classes], rows.temperature, rows.where[:, :classes]
    )
    return rows, Truth(*rows), rows.cotangents()


def check_all(rows, truth, cotangents, values, gradients, whole_rows=False):
    """Compare every op's values and gradients with the truth."""
    cases.check(rows, 2e-6, {op: (truth.value(op), values[op]) for op in OPS})
    pairs = cases.gradient_pairs(truth, cotangents, gradients, whole_rows)
    cases.check(rows, 1e-5, pairs)


@pytest.mark.parametrize("name", MESHES)
def test_rows_sharded_under_jit(name):
    """Nothing travels between devices: no row needs another."""
    rows, truth, cotangents = sharded_case(48)
    place = NamedSharding(mesh(name), P(MESHES[name][1]))
    arguments = jax.device_put((tuple(rows), cotangents), place)
    step = jax.jit(cases.pull).lower(*arguments).compile()
    assert traffic(step) == []
    values, gradients = step(*arguments)
    assert values["softmax"].sharding.is_equivalent_to(place, 2)
    assert gradients["softmax"][0].sharding.is_equivalent_to(place, 2)
    check_all(rows, truth, cotangents, values, gradients)


@pytest.mark.parametrize("op", OPS)
def test_shared_temperature_reduces_one_number(op):
    """The gradient of one τ for all rows is all that travels, one number a device."""
    rows, *_ = sharded_case(48)
    place = NamedSharding(mesh("8"), P("d"))
    logits = np.where(np.isfinite(rows.logits), rows.logits, 0) / 100
    function = jax.grad(lambda z, t: getattr(jaxtemp, op)(z, t).sum(), argnums=(0, 1))
    arguments = jax.device_put(logits, place), jnp.float32(0.7)
    step = jax.jit(function).lower(*arguments).compile()
    assert set(traffic(step)) <= {("all-reduce", 1)}
    truth = Truth(logits, np.full(64, np.float32(0.7)))
    ones = np.ones(logits.shape if op in VECTOR_OPS else 64)
    _, want = truth.vjp(op, ones)
    error = abs(float(step(*arguments)[1]) - float(want.value.sum()))
    assert error <= 1e-5 * float(want.scale.sum())


@pytest.mark.parametrize("name", MESHES)
def test_rows_sharded_under_explicit_sharding(name):
    """With sharding in the types, results are typed as sharded over rows."""
    rows, truth, cotangents = sharded_case(48)
    with jax.set_mesh(mesh(name, AxisType.Explicit)):
        spec = P(MESHES[name][1])
        arguments = jax.device_put((tuple(rows), cotangents), spec)
        values, gradients = jax.jit(cases.pull)(*arguments)
        assert jax.typeof(values["softmax"]).sharding.spec == P(*spec, None)
    check_all(rows, truth, cotangents, values, gradients)


@pytest.mark.parametrize(("name", "check_vma"), [("8", True), ("2x4", False)])
def test_rows_sharded_in_shard_map(name, check_vma):
    """Each device runs the ops and their gradients on its rows; nothing travels."""
    rows, truth, cotangents = sharded_case(48)
    spec = P(MESHES[name][1])
    call = jax.shard_map(
        cases.pull,
        mesh=mesh(name),
        in_specs=spec,
        out_specs=spec,
        check_vma=check_vma,
    )
    step = jax.jit(call).lower(tuple(rows), cotangents).compile()
    assert traffic(step) == []
    check_all(rows, truth, cotangents, *step(tuple(rows), cotangents))


def split(name, check_vma):
    """Return `call(op, …)` with the classes split over the mesh's last axis."""
    *batch, classes = MESHES[name][1]
    batch = P(*batch) if batch else P(None)
    both = P(*batch, classes)

    def call(op, logits, temperature, where):
        function = functools.partial(getattr(jaxtemp, op), axis_name=classes)
        return jax.shard_map(
            lambda z, t, w: function(z, t, where=w),
            mesh=mesh(name),
            in_specs=(both, batch, both),
            out_specs=both if op in VECTOR_OPS else batch,
            check_vma=check_vma,
        )(logits, temperature, where)

    return call


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("name", MESHES)
def test_classes_sharded(name, check_vma):
    """Only numbers of which each row has one travel, forward and backward."""
    rows, truth, cotangents = sharded_case(320)
    call = functools.partial(cases.pull, call=split(name, check_vma))
    step = jax.jit(call).lower(tuple(rows), cotangents).compile()
    local_rows = 64 // (1 if name == "8" else 2)
    moved = traffic(step)
    assert {collective for collective, _ in moved} == {"all-reduce"}
    assert max(size for _, size in moved) <= local_rows
    results = step(tuple(rows), cotangents)
    check_all(rows, truth, cotangents, *results, whole_rows=True)


def test_forward_mode_with_classes_sharded():
    """Random tangents pushed through every op with its classes on eight devices."""
    rows, truth, _ = sharded_case(320)
    tangents = rows.tangents()
    call = functools.partial(cases.push, call=split("8", check_vma=True))
    got = jax.jit(call)(tuple(rows), tangents)
    want = {
        op: truth.jvp(op, *tangents).unless_too_large(truth.largest, rows=True)
        for op in OPS
    }
    cases.check(rows, 1e-5, {op: (want[op], got[op]) for op in OPS})


def test_second_order_with_classes_sharded():
    """Forward over reverse, one class a device, against mpmath."""
    rng = np.random.default_rng(0)
    z, tau, mix = rng.normal(size=8), 0.7, rng.normal(size=8)
    first, second = rng.normal(size=(2, 9))
    call = split("8", check_vma=True)

    def along(op, x):
        def function(x):
            out = call(op, x[None, :8], x[8:], jnp.ones((1, 8), bool))[0]
            return out @ mix if op in VECTOR_OPS else out

        return jax.grad(function)(x) @ first

    @jax.jit
    def second_order(x):
        return {
            op: jax.jvp(functools.partial(along, op), (x,), (second,))[1] for op in OPS
        }

    with jax.enable_x64(True):
        got = second_order(np.append(z, tau))
    exact = mp_derivative(z, tau, [(first[:8], first[8]), (second[:8], second[8])])
    for op in OPS:
        want = float(exact[op] @ mix if op in VECTOR_OPS else exact[op])
        np.testing.assert_allclose(float(got[op]), want, rtol=1e-9, err_msg=op)
