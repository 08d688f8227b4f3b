"""The search for a prefix: exact where sums are, bounded, and without a sort."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jaxtemp.sampling import _kept
from tests.sampling.filter_truth import random_rows, stacked


def truth(score, target, weight=None, ties="index", last=True):
    """The prefix by sorting, in float64 or whole numbers."""
    score = np.asarray(score).astype(np.float64)
    allowed = score > -np.inf
    weight = np.where(allowed, 1 if weight is None else np.float64(weight), 0)
    order = np.argsort(-np.where(allowed, score, -np.inf), axis=-1, kind="stable")
    ranked = np.take_along_axis(weight, order, axis=-1)
    before = np.cumsum(ranked, axis=-1) - ranked
    target = np.minimum(target, weight.sum(axis=-1, keepdims=True))
    kept = before < target
    kept[:, 0] = True
    if not last:
        kept &= before + ranked < target
    kept = np.take_along_axis(kept, np.argsort(order, axis=-1), axis=-1) & allowed
    if ties == "all":
        lowest = np.min(score, -1, keepdims=True, initial=np.inf, where=kept)
        kept = allowed & (score >= lowest)
    return kept


def whole_weights(score, seed=0):
    """Whole numbers, which float32 sums exactly, and targets up to their sum."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(0, 9, score.shape).astype(np.float32)
    total = np.where(score > -np.inf, weight, 0).sum(axis=-1, keepdims=True)
    target = np.rint(total * rng.uniform(0, 1, total.shape)).astype(np.float32)
    return weight, target


def counts(score, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, score.shape[-1] + 3, (len(score), 1)).astype(np.int32)


# Rows of 1, 3 and 65 classes have one shape, for which everything is compiled once.
ROWS = 60_000


def padded(*parts) -> np.ndarray:
    return stacked(parts, ROWS, 65)


SCORES = {
    "one class": lambda: random_rows("float32", 1, 2_000),
    "up to 65": lambda: padded(
        *(random_rows("float32", classes, 20_000) for classes in (1, 3, 65))
    ),
    "two blocks": lambda: random_rows("float32", 1000, 2_000),
}


@pytest.mark.parametrize(
    ("rows", "ties"), [("up to 65", "index"), ("two blocks", "all")]
)
def test_counts_are_exact(rows, ties):
    score = SCORES[rows]()
    target = counts(score)
    got = _kept.prefix(score, target, ties=ties)
    np.testing.assert_array_equal(got, truth(score, target, ties=ties))


# The settings only say what is made of the last score, which all search in one way.
@pytest.mark.parametrize(
    ("rows", "settings"),
    [
        *(("one class", {}), ("up to 65", {}), ("two blocks", {})),
        *(("up to 65", {"last": False}), ("two blocks", {"ties": "all"})),
    ],
)
def test_sums_that_are_exact_decide_exactly(rows, settings):
    score = SCORES[rows]()
    weight, target = whole_weights(score)
    want = truth(score, target, weight, **settings)
    got = _kept.prefix(score, target, weight, **settings)
    np.testing.assert_array_equal(got, want)


# Counts of scores of these types are those of `top_k` in `test_filters`.
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_every_type_of_score_is_ordered(dtype):
    with jax.enable_x64(dtype == "float64"):
        score = random_rows(dtype, 65, 2_000)
        weight, target = whole_weights(score)
        weight = weight.astype(np.float64 if dtype == "float64" else np.float32)
        want = truth(score, target, weight)
        np.testing.assert_array_equal(_kept.prefix(score, target, weight), want)


def extreme_rows(dtype) -> np.ndarray:
    """Rows over the whole range of a type, where interpolation is of no use."""
    info = jnp.finfo(dtype)
    rng = np.random.default_rng(0)
    low, high = np.log(float(info.tiny)), np.log(float(info.max)) - 1
    wide = np.exp(rng.uniform(low, high, (40, 300))) * rng.choice([-1, 1], (40, 300))
    wide[:10] = np.abs(wide[:10])
    wide[10:20, :100] = -0.0
    wide[10:20, 100:200] = 0.0
    wide[20:25, 0] = float(info.max)
    wide[20:25, 1:] = np.arange(299) * float(info.tiny)
    wide[25:30, :2] = float(info.max), -float(info.max)
    wide[25:30, 2:] = 1 + np.arange(298) * float(info.eps)
    wide[30:35, 7] = np.inf
    return wide.astype(dtype)


@pytest.fixture
def passes(monkeypatch):
    """A list that grows by one with every pass over the rows."""
    reduce, seen = _kept._reduce, []

    def counted(*arguments):
        jax.debug.callback(lambda: seen.append(1))
        return reduce(*arguments)

    monkeypatch.setattr(_kept, "_reduce", counted)
    return seen


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_extreme_scores_are_ordered_and_need_no_more_passes_than_bits(dtype, passes):
    rng = np.random.default_rng(1)
    with jax.enable_x64(dtype == "float64"):
        find = jax.jit(lambda s, t: _kept.prefix(s, t, ties="all"))
        for row in extreme_rows(dtype):
            target = rng.integers(1, 300, (1, 1)).astype(np.int32)
            passes.clear()
            got = find(row[None], target)
            jax.effects_barrier()
            np.testing.assert_array_equal(got, truth(row[None], target, ties="all"))
            assert 1 <= len(passes) <= 1 + 8 * np.dtype(dtype).itemsize


def test_among_extreme_scores_the_first_of_equals_are_kept():
    rows = extreme_rows("float32")
    target = np.full((len(rows), 1), 150, np.int32)
    np.testing.assert_array_equal(_kept.prefix(rows, target), truth(rows, target))


def test_ordinary_rows_need_few_passes(passes):
    score = np.random.default_rng(0).normal(size=(1, 100_000)).astype(np.float32)
    jax.jit(_kept.prefix)(score, np.array([[50]], np.int32))
    jax.effects_barrier()
    assert 2 <= len(passes) <= 16


def test_a_row_that_is_done_does_not_wait_forever_for_its_neighbours():
    rng = np.random.default_rng(0)
    score = rng.normal(size=(ROWS, 65)).astype(np.float32)
    weight = np.exp(score - score.max(axis=-1, keepdims=True))
    target = weight.sum(axis=-1, keepdims=True) * rng.random((ROWS, 1), np.float32)
    kept = np.asarray(_kept.prefix(score, target, weight))
    masses = np.where(kept, weight, 0).astype(np.float64).sum(axis=-1, keepdims=True)
    assert (masses > target - 1e-4).all()


@pytest.mark.parametrize("classes", [32_000, 131_072, 200_001])
def test_long_rows_are_summed_to_float32(classes):
    rng = np.random.default_rng(0)
    score = rng.normal(size=(8, classes)).astype(np.float32)
    score[:4] = 0.0
    each = rng.uniform(0.5, 1, (8, 1)).astype(np.float32)
    count = rng.integers(1, classes, (8, 1))
    target = ((count - 0.5) * each.astype(np.float64)).astype(np.float32)
    kept = _kept.prefix(score, target, np.broadcast_to(each, score.shape))
    np.testing.assert_allclose(kept.sum(axis=-1), count[:, 0], rtol=1e-6, atol=0.5)


def test_a_target_out_of_reach_keeps_all_and_none_keeps_one():
    score = padded(np.array([[1.0, 3.0, -np.inf, 3.0]] * 3))
    target = np.resize(np.float32([7.0, 0.0, -1.0]), (ROWS, 1))
    kept = np.asarray(_kept.prefix(score, target, np.ones_like(score)))
    assert np.flatnonzero(kept[0]).tolist() == [0, 1, 3]
    assert np.flatnonzero(kept[1]).tolist() == [1]
    assert np.flatnonzero(kept[2]).tolist() == [1]


def test_rows_without_a_score_keep_nothing():
    score = padded(np.array([[-np.inf, np.nan], [-np.inf, -np.inf], [0.0, 1.0]]))
    target = np.full((ROWS, 1), 5, np.int32)
    kept = np.asarray(_kept.prefix(score, target, ties="index"))
    assert kept[:3].sum(axis=-1).tolist() == [0, 0, 2]


@pytest.mark.parametrize("maps", [0, 3])
def test_any_batch_axes_jit_and_vmap_agree(maps):
    score = random_rows("float32", 8, 60)
    weight, target = whole_weights(score)
    want = truth(score, target, weight)
    call = _kept.prefix
    for _ in range(maps):
        call = jax.vmap(call)
    arguments = [x.reshape(2, 3, 10, -1) for x in (score, target, weight)]
    np.testing.assert_array_equal(call(*arguments).reshape(60, 8), want)


def test_shard_map_checks_what_varies():
    mesh = jax.make_mesh((1,), ("rows",), (jax.sharding.AxisType.Auto,))
    score = random_rows("float32", 8, 60)
    weight, target = whole_weights(score)
    spec = PartitionSpec("rows")
    call = jax.shard_map(_kept.prefix, mesh=mesh, in_specs=spec, out_specs=spec)
    got = jax.jit(call)(score, target, weight)
    np.testing.assert_array_equal(got, truth(score, target, weight))
