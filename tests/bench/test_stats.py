import pytest

from bench.stats import paired_ratio, quartiles


def test_quartiles_by_hand():
    # Sorted: 1 2 4 8; positions 0.75, 1.5 and 2.25, interpolated linearly.
    assert quartiles([8.0, 1.0, 4.0, 2.0]) == pytest.approx((1.75, 3.0, 5.0))
    assert quartiles([7.0]) == (7.0, 7.0, 7.0)


def test_quartiles_of_nothing():
    with pytest.raises(ValueError, match="no values"):
        quartiles([])


def test_ratio_is_theirs_over_ours():
    assert paired_ratio([2.0, 2.0], [1.0, 1.0]).median == 2.0
    assert paired_ratio([1.0, 1.0], [4.0, 4.0]).median == 0.25


def test_a_slow_moment_cancels_within_its_round():
    # Both are ten times slower in rounds 1 and 3: every paired ratio is still 2, while
    # the ratio of medians of rounds that happened to be slow for one would not be.
    ours = [1.0, 10.0, 1.0, 10.0, 1.0]
    assert paired_ratio([2 * t for t in ours], ours) == (2.0, 2.0, 2.0)


def test_pairs_need_equal_lengths():
    with pytest.raises(ValueError, match="2 times cannot be paired with 1"):
        paired_ratio([1.0, 1.0], [1.0])
