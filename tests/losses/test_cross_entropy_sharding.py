"""`cross_entropy` on eight devices: rows sharded, classes sharded, and both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxtemp.losses import cross_entropy
from tests.boltzmann.test_sharding import MESHES, mesh, traffic
from tests.losses.test_cross_entropy_transforms import ALL, PLAIN, finite, split
from tests.losses.truth import Truth

KINDS = [("integer", PLAIN), ("ignored", ALL), ("soft", ALL)]


def sharded_case(labels, options):
    """64 rows of 320 classes, split into their arguments, and the gradients."""
    case = finite(labels, {**options, "dtype": "float32", "classes": 320}, 64)
    return split(case), Truth(case).gradients(np.ones(64))


def slope(shared, axis_name=None):
    """The gradients in logits and temperature of the sum of the losses."""

    def function(logits, tau, mapped):
        def loss(logits, tau):
            options = {**mapped, **shared, "axis_name": axis_name}
            return cross_entropy(logits, temperature=tau, **options)

        value, pull = jax.vjp(loss, logits, tau)
        return pull(jnp.ones_like(value))

    return function


def check(got, want):
    for one, (value, scale) in zip(got, want, strict=True):
        error = np.abs(np.asarray(one, np.longdouble) - value)
        assert (error <= 1e-5 * scale + 1e-30).all()


@pytest.mark.parametrize("name", MESHES)
@pytest.mark.parametrize(("labels", "options"), KINDS)
def test_rows_sharded_under_jit(labels, options, name):
    """Nothing travels between devices: no row needs another."""
    (logits, tau, mapped, shared), want = sharded_case(labels, options)
    place = NamedSharding(mesh(name), P(MESHES[name][1]))
    arguments = jax.device_put((logits, tau, mapped), place)
    step = jax.jit(slope(shared)).lower(*arguments).compile()
    assert traffic(step) == []
    got = step(*arguments)
    assert got[0].sharding.is_equivalent_to(place, 2)
    check(got, want)


@pytest.mark.parametrize(("labels", "options"), KINDS)
def test_rows_sharded_under_explicit_sharding(labels, options):
    (logits, tau, mapped, shared), want = sharded_case(labels, options)
    with jax.set_mesh(mesh("8", AxisType.Explicit)):
        arguments = jax.device_put((logits, tau, mapped), P("d"))
        got = jax.jit(slope(shared))(*arguments)
        assert jax.typeof(got[0]).sharding.spec == P("d", None)
    check(got, want)


@pytest.mark.parametrize(("name", "check_vma"), [("8", True), ("2x4", False)])
@pytest.mark.parametrize(("labels", "options"), KINDS)
def test_classes_sharded(labels, options, name, check_vma):
    """Only numbers of which each row has one travel, forward and backward."""
    (logits, tau, mapped, shared), want = sharded_case(labels, options)
    *batch, classes = MESHES[name][1]
    batch = P(*batch) if batch else P(None)
    both = P(*batch, classes)
    wide = {key: both if value.ndim == 2 else batch for key, value in mapped.items()}
    weights = shared.pop("class_weights", np.ones(320, np.float32))

    def call(logits, tau, mapped, weights):
        given = {**shared, **mapped, "class_weights": weights}
        return cross_entropy(logits, temperature=tau, axis_name=classes, **given)

    split_call = jax.shard_map(
        call,
        mesh=mesh(name),
        in_specs=(both, batch, wide, P(classes)),
        out_specs=batch,
        check_vma=check_vma,
    )

    def step(logits, tau, mapped, weights):
        value, pull = jax.vjp(
            lambda z, t: split_call(z, t, mapped, weights), logits, tau
        )
        return pull(jnp.ones_like(value))

    compiled = jax.jit(step).lower(logits, tau, mapped, weights).compile()
    assert max(size for _, size in traffic(compiled)) <= 64
    check(compiled(logits, tau, mapped, weights), want)
