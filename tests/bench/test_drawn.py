import numpy as np
import pytest

from bench import drawn
from bench.drawn import Filters

RNG = np.random.default_rng(11)
# Probabilities 0.5, 0.25, 0.15 and 0.1, out of order, at τ = 2.
P = np.array([[0.15, 0.5, 0.1, 0.25]])
LOGITS, TAU = 2 * np.log(P), np.array([2.0])


def kept(filters):
    expected = drawn.draws(LOGITS, TAU, filters)
    return [k for k in range(4) if drawn.draw_error(expected, [np.array([k])]) < np.inf]


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (Filters(), [0, 1, 2, 3]),
        (Filters(top_k=2), [1, 3]),
        (Filters(top_p=0.76), [0, 1, 3]),
        (Filters(top_p=0.74), [1, 3]),
        (Filters(min_p=0.4), [1, 3]),
        (Filters(top_k=3, top_p=0.8), [1, 3]),  # 0.75 / 0.9 reaches 0.8
        (Filters(top_k=np.array([1]), top_p=np.array([1.0])), [1]),
    ],
)
def test_the_filters_by_hand(filters, ids):
    assert kept(filters) == ids


def test_mean_and_variance_by_hand():
    # Kept: p = (2/3, 1/3), log p up to a constant = (0, -ln 2).
    expected = drawn.draws(LOGITS, TAU, Filters(top_k=2))
    assert expected.mean[0] == pytest.approx(-np.log(2) / 3)
    assert expected.variance[0] == pytest.approx(np.log(2) ** 2 * 2 / 9)


@pytest.mark.parametrize("filters", [Filters(), Filters(top_p=0.8)])
def test_draws_pass_and_the_draws_of_another_temperature_do_not(filters):
    z, tau = 3 * RNG.standard_normal((20_000, 12)), np.ones(20_000)

    def ids(z):
        expected = drawn.draws(z, tau, filters)
        noise = RNG.gumbel(size=z.shape)
        allowed = expected.log_p >= expected.least[:, None]
        return np.where(allowed, z + noise, -np.inf).argmax(-1)

    expected = drawn.draws(z, tau, filters)
    assert drawn.draw_error(expected, [ids(z)]) < 5
    hotter = drawn.draw_error(expected, [ids(z / 1.3)])
    assert hotter > drawn.TOLERANCE


@pytest.mark.parametrize(
    "outputs",
    [[], [np.zeros(2)], [np.array([-1])], [np.array([4])], [np.array([0.5])]],
)
def test_what_is_no_id_is_infinitely_wrong(outputs):
    assert drawn.draw_error(drawn.draws(LOGITS, TAU, Filters()), outputs) == np.inf
    assert drawn.greedy_error(LOGITS, outputs) == np.inf


def test_greedy_takes_any_of_the_largest():
    z = np.array([[0.0, 2.0, 2.0], [5.0, 1.0, 1.0]])
    assert drawn.greedy_error(z, [np.array([2, 0])]) == 0
    assert drawn.greedy_error(z, [np.array([1, 0])]) == 0
    assert drawn.greedy_error(z, [np.array([1, 1])]) == np.inf
