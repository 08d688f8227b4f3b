"""Isotonic calibration: scikit-learn's maps, and what is made of them."""

import builtins

import jax
import numpy as np
import pytest
from scipy.special import softmax
from sklearn.isotonic import IsotonicRegression

from jaxtemp.calibration import Status, fit_isotonic


def test_the_maps_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    z = (3 * rng.standard_normal((1500, 3))).astype(np.float32)
    labels = (z / 2 + rng.gumbel(size=z.shape)).argmax(-1)
    weights = rng.integers(0, 3, 1500).astype(np.float32)
    found = fit_isotonic(z, labels, weights=weights)
    p = softmax(z.astype(np.float64), -1)
    least = 1 / ((weights > 0).sum() + 2)
    q = []
    for k in range(3):
        regression = IsotonicRegression(
            y_min=least, y_max=1 - least, out_of_bounds="clip"
        )
        kept = weights > 0
        regression.fit(p[kept, k], labels[kept] == k, weights[kept])
        q.append(regression.predict(p[kept, k]))
    q = np.stack(q, -1) / np.sum(q, 0)[:, None]
    got = np.exp(np.asarray(jax.jit(found.apply)(z[weights > 0]), np.float64))
    # Between corners next to each other, rounding a probability shows.
    assert np.quantile(np.abs(got - q), 0.9) < 1e-5
    assert np.abs(got - q).mean() < 1e-3
    own = q[np.arange(len(q)), labels[weights > 0]]
    want = np.average(-np.log(own), weights=weights[weights > 0])
    np.testing.assert_allclose(found.nll_after, want, rtol=1e-3)
    assert found.nll_after < found.nll_before
    assert found.status in (Status.CONVERGED, Status.OVERFIT)


def test_few_rows_overfit():
    rng = np.random.default_rng(1)
    z = rng.standard_normal((40, 5)).astype(np.float32)
    labels = (z + rng.gumbel(size=z.shape)).argmax(-1)
    found = fit_isotonic(z, labels)
    assert found.status == Status.OVERFIT
    assert np.isfinite(found.nll_held_out)
    assert found.nll_held_out > found.nll_held_out_temperature


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImportError) as caught:
        fit_isotonic(np.eye(3, dtype=np.float32), np.arange(3))
    assert str(caught.value) == (
        "`jaxtemp.calibration.fit_isotonic` needs scikit-learn, which is not "
        "installed; run: pip install 'jaxtemp[examples]'"
    )
