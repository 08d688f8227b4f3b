import pytest

from bench.timing import Plan, find_repeats, measure, order, sample
from tests.bench.fakes import FakeClock

PLAN = Plan(sample_seconds=0.010, case_seconds=1.0, min_rounds=4, max_rounds=8)


def test_order_is_balanced():
    rounds = [order(k, 3) for k in range(6)]
    assert rounds == [
        [0, 1, 2],
        [2, 1, 0],
        [1, 2, 0],
        [0, 2, 1],
        [2, 0, 1],
        [1, 0, 2],
    ]
    for place in range(3):
        assert sorted(turn[place] for turn in rounds) == [0, 0, 1, 1, 2, 2]


def test_sample_is_seconds_per_call():
    clock = FakeClock()
    assert sample(clock.ready("a", 0.002), 5, PLAN, clock) == pytest.approx(0.002)


@pytest.mark.parametrize(("fence_each", "fences"), [(True, 6), (False, 1)])
def test_fences_per_sample(fence_each, fences):
    clock = FakeClock()
    plan = Plan(fence_each=fence_each)
    sample(clock.ready("a", 0.002), 5, plan, clock)
    assert clock.log.count("fence") == fences
    assert clock.log[-1] == "fence"


@pytest.mark.parametrize("seconds", [1e-6, 3e-5, 0.004, 0.0099, 0.5])
def test_samples_are_long_enough_and_not_much_longer(seconds):
    clock = FakeClock()
    repeats, found = find_repeats(clock.ready("a", seconds), PLAN, clock)
    assert found == pytest.approx(seconds)
    assert repeats * seconds >= 0.010
    assert repeats == 1 or repeats * seconds <= 0.025


def test_repeats_end_even_if_nothing_takes_time():
    clock = FakeClock()
    assert find_repeats(clock.ready("a", 0.0), PLAN, clock)[0] == 100_000


def test_times_of_known_work():
    clock = FakeClock()
    fast, slow = measure(
        [clock.ready("fast", 0.001), clock.ready("slow", 0.003)], PLAN, clock
    )
    assert fast.seconds == pytest.approx([0.001] * len(fast.seconds))
    assert slow.seconds == pytest.approx([0.003] * len(slow.seconds))
    assert len(fast.seconds) == len(slow.seconds)


@pytest.mark.parametrize(("seconds", "rounds"), [(1e-3, 8), (0.08, 6), (2.0, 4)])
def test_rounds_fit_the_case(seconds, rounds):
    # A round of one contender is its untimed call and its sample.
    clock = FakeClock()
    (times,) = measure([clock.ready("a", seconds)], PLAN, clock)
    assert len(times.seconds) == rounds


def test_a_slow_one_takes_part_in_the_first_rounds_only():
    clock = FakeClock()
    fast, slow = measure(
        [clock.ready("fast", 0.001), clock.ready("slow", 2.0)], PLAN, clock
    )
    assert (len(fast.seconds), len(slow.seconds)) == (8, PLAN.slow_rounds)
    assert slow.seconds == pytest.approx([2.0] * PLAN.slow_rounds)
    assert clock.log.count("slow") == 1 + PLAN.slow_rounds  # nothing untimed but 1


def test_one_that_is_not_much_slower_is_not_slow():
    clock = FakeClock()
    times = measure([clock.ready("a", 0.5), clock.ready("b", 2.0)], PLAN, clock)
    assert [len(t.seconds) for t in times] == [PLAN.min_rounds] * 2


def test_a_long_case_has_few_rounds_and_no_untimed_calls():
    clock = FakeClock()
    times = measure([clock.ready("a", 4.0), clock.ready("b", 9.0)], PLAN, clock)
    assert [len(t.seconds) for t in times] == [PLAN.slow_rounds] * 2
    assert clock.log.count("a") == clock.log.count("b") == 1 + PLAN.slow_rounds


def test_rounds_interleave_and_each_sample_has_an_untimed_call_before_it():
    clock = FakeClock()
    plan = Plan(sample_seconds=0.05, case_seconds=0.0, min_rounds=4, max_rounds=4)
    measure([clock.ready("a", 0.1), clock.ready("b", 0.1)], plan, clock)
    calls = [entry for entry in clock.log if entry != "fence"]
    assert "".join(calls[4:]) == "aabb" + "bbaa" + "bbaa" + "aabb"
