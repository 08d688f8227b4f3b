"""`linear_cross_entropy` on eight devices: rows sharded, classes sharded, and both."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests.boltzmann.test_sharding import MESHES, mesh, traffic
from tests.losses.linear import ALL, FEATURES, PLAIN, Arrays, call, pull, random_problem
from tests.losses.test_linear_cross_entropy import small_chunks as small_chunks

ROWS, CLASSES = 64, 320


def sharded_problem(kind, rows=ROWS):
    return random_problem(
        {**kind, "dtype": "float32", "classes": CLASSES}, 0, rows, ends=False
    )


def check(got, problem):
    wanted = problem.gradients(np.ones(len(problem.labels)))
    for one, (value, scale) in zip(got, wanted, strict=True):
        error = np.abs(np.asarray(one, np.longdouble) - value)
        assert (error <= 1e-5 * scale + 1e-30).all()


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("count", [ROWS, 2 * ROWS])
@pytest.mark.usefixtures("small_chunks")
def test_rows_sharded_under_jit(count, kind):
    """Rows stay where they are: only gradients that all rows share are summed.

    Also where they are taken in two parts.
    """
    problem = sharded_problem(PLAIN, count)
    devices, rows = mesh("8", kind), P("d")
    place = lambda x, spec: jax.device_put(x, NamedSharding(devices, spec))  # noqa: E731
    specs = Arrays(P("d", None), P(None, None), P(None), rows)
    arrays = Arrays(*map(place, problem.arrays, specs))
    given = arrays, place(np.ones(count, np.float32), rows), place(problem.labels, rows)
    with jax.set_mesh(devices):
        run = jax.jit(functools.partial(pull, options=problem.options))
        compiled = run.lower(*given).compile()
        _, got = compiled(*given)
    assert {collective for collective, _ in traffic(compiled)} <= {"all-reduce"}
    assert got.hidden.sharding.is_equivalent_to(arrays.hidden.sharding, 2)
    check(got, problem)


@pytest.mark.parametrize(("name", "check_vma"), [("8", True), ("2x4", False)])
@pytest.mark.parametrize("kind", [PLAIN, ALL])
@pytest.mark.usefixtures("small_chunks")
def test_classes_sharded(kind, name, check_vma):
    """Numbers per row travel, and once the gradient of `hidden`."""
    problem = sharded_problem(kind)
    *batch, classes = MESHES[name][1]
    rows = P(*batch) if batch else P(None)
    by_class = ("where", "class_weights")
    split = {k: v for k, v in problem.options.items() if np.ndim(v)}
    fixed = {k: v for k, v in problem.options.items() if not np.ndim(v)}
    specs = {k: P(classes) if k in by_class else rows for k in split}

    def device(arrays, labels, options):
        return call(arrays, labels, {**options, **fixed, "axis_name": classes})

    sharded = jax.shard_map(
        device,
        mesh=mesh(name),
        in_specs=(Arrays(rows, P(None, classes), P(classes), rows), rows, specs),
        out_specs=rows,
        check_vma=check_vma,
    )

    def run(arrays, labels, options):
        loss, back = jax.vjp(lambda x: sharded(x, labels, options), arrays)
        return back(jnp.ones_like(loss))[0]

    given = problem.arrays, problem.labels, split
    compiled = jax.jit(run).lower(*given).compile()
    local = ROWS // (1 if name == "8" else 2)
    sizes = [size for _, size in traffic(compiled)]
    summed = FEATURES * CLASSES // (8 if name == "8" else 4)  # over the devices of rows
    assert sizes.count(local * FEATURES) == 1
    assert set(sizes) <= {local, local * FEATURES, summed, summed // FEATURES}
    check(compiled(*given), problem)
