"""A temperature for each group, beside fits of the groups alone."""

import numpy as np

from jaxtemp.calibration import Status, fit_group_temperatures, fit_temperature


def test_each_group_has_the_temperature_of_its_rows():
    rng = np.random.default_rng(0)
    z = (3 * rng.standard_normal((900, 4))).astype(np.float32)
    groups = rng.choice(6, 900, p=[0.3, 0.3, 0.28, 0.02, 0.1, 0.0])
    tau = np.array([0.5, 1.0, 2.0, 1.0, 1.0, 1.0])[groups]
    labels = (z / tau[:, None] + rng.gumbel(size=z.shape)).argmax(-1)
    labels[groups == 4] = z[groups == 4].argmax(-1)
    weights = rng.integers(0, 3, 900).astype(np.float32)

    found = fit_group_temperatures(z, labels, groups, 6, weights=weights, min_rows=30)
    want = [Status.CONVERGED] * 3 + [Status.POOLED, Status.SEPARABLE, Status.POOLED]
    np.testing.assert_array_equal(found.status, want)
    counts = np.bincount(groups[weights > 0], minlength=6)
    np.testing.assert_array_equal(found.rows, counts)
    pooled = fit_temperature(z, labels, weights=weights)
    for group in range(5):
        alone = fit_temperature(
            z, labels, weights=np.where(groups == group, weights, 0)
        )
        np.testing.assert_allclose(found.nll_before[group], alone.nll_before, rtol=1e-5)
        if want[group] == Status.POOLED:
            continue
        for name in ("temperature", "standard_error", "nll_after"):
            np.testing.assert_allclose(
                getattr(found, name)[group], getattr(alone, name), rtol=2e-6
            )
    for group in (3, 5):
        assert found.temperature[group] == pooled.temperature
        assert found.standard_error[group] == pooled.standard_error
    few = (groups == 3) & (weights > 0)
    scored = np.asarray(pooled.apply(z[few]), np.float64)
    own = np.take_along_axis(scored, labels[few][:, None], -1)[:, 0]
    np.testing.assert_allclose(
        found.nll_after[3], np.average(-own, weights=weights[few]), rtol=1e-5
    )
    assert np.isnan(found.nll_before[5])

    applied = found.apply(z[:50], groups[:50])
    for row in np.flatnonzero(groups[:50] != 4):
        x = z[row].astype(np.float64) / float(found.temperature[groups[row]])
        want_row = x - np.log(np.exp(x).sum())
        np.testing.assert_allclose(applied[row], want_row, rtol=1e-4, atol=1e-4)
