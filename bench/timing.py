"""Interleaved timing: every contender in every round, the order changing by round."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.cases import Ready

Clock = Callable[[], float]

_MAX_REPEATS = 100_000  # ends the search for a contender that takes no time at all


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    Attributes:
        sample_seconds: A sample repeats its call until it takes about this long, far
            above the clock's resolution; one call where that already takes longer.
        case_seconds: Rounds of a case go on for about this long, within the next two.
        min_rounds: Fewest rounds.
        max_rounds: Most rounds.
        slow_seconds: A contender whose one call takes longer, and ten times as long as
            the fastest's, is slow: it takes part in the first `slow_rounds` rounds
            only, which suffice for a ratio that large. Ten times as much is longer than
            any disturbance.
        slow_rounds: Rounds of a slow one.
        long_seconds: A case of which one round takes longer has `slow_rounds` rounds.
        fence_each: Whether to wait for every call, as on a CPU, where the caller works
            on the same cores, or once a sample, as on an accelerator, where waiting
            would add the launch to every call.
    """

    sample_seconds: float = 0.010
    case_seconds: float = 2.5
    min_rounds: int = 11
    max_rounds: int = 31
    slow_seconds: float = 0.1
    slow_rounds: int = 3
    long_seconds: float = 10.0
    fence_each: bool = True


@dataclass(frozen=True)
class Times:
    """Seconds per call of one contender, one entry a round, and calls per sample.

    A slow one has fewer entries, of the first rounds.
    """

    seconds: list[float]
    repeats: int


def order(round_index: int, count: int) -> list[int]:
    """Order of the contenders in a round.

    Every second round runs backwards and every pair of rounds starts one later, so that
    nobody always comes first or always follows the same one.
    """
    start = round_index // 2
    forward = [(start + k) % count for k in range(count)]
    return forward if round_index % 2 == 0 else forward[::-1]


def sample(ready: Ready, repeats: int, plan: Plan, clock: Clock) -> float:
    """Seconds per call, over `repeats` calls whose outputs are all waited for."""
    begin = clock()
    out = None
    for _ in range(repeats):
        out = ready.call()
        if plan.fence_each:
            ready.fence(out)
    ready.fence(out)
    return (clock() - begin) / repeats


def find_repeats(ready: Ready, plan: Plan, clock: Clock) -> tuple[int, float]:
    """Calls that fill a sample, and the seconds that one call took at that number."""
    repeats = 1
    while True:
        seconds = sample(ready, repeats, plan, clock)
        if seconds > 10 * plan.slow_seconds:
            return repeats, seconds
        # The faster of two: a cold or disturbed one would end the search too early.
        seconds = min(seconds, sample(ready, repeats, plan, clock))
        total = seconds * repeats
        if total >= plan.sample_seconds or repeats >= _MAX_REPEATS:
            return repeats, seconds
        needed = math.ceil(1.1 * repeats * plan.sample_seconds / max(total, 1e-9))
        # At most tenfold: a short time says little about a long one.
        repeats = min(max(needed, repeats + 1), 10 * repeats, _MAX_REPEATS)


def measure(
    contenders: Sequence[Ready], plan: Plan, clock: Clock = time.perf_counter
) -> list[Times]:
    """Times all contenders against each other.

    Args:
        contenders: Compiled contenders, each already called once.
        plan: How long to measure.
        clock: Seconds, monotonic.

    Returns:
        The times of each contender; entry `k` of all of them is from the same round.
    """
    found = [find_repeats(ready, plan, clock) for ready in contenders]
    fastest = min((seconds for _, seconds in found), default=0.0)
    slow = [s > max(plan.slow_seconds, 10 * fastest) for _, s in found]
    round_seconds = sum(
        seconds * (repeats + 1)
        for (repeats, seconds), is_slow in zip(found, slow, strict=True)
        if not is_slow
    )
    wanted = int(plan.case_seconds / max(round_seconds, 1e-9))
    long = round_seconds > plan.long_seconds
    least = plan.slow_rounds if long else plan.min_rounds
    rounds = min(max(wanted, least), plan.max_rounds)
    times = [Times([], repeats) for repeats, _ in found]
    for index in range(rounds):
        for k in order(index, len(contenders)):
            ready = contenders[k]
            if slow[k] and index >= plan.slow_rounds:
                continue
            # Untimed: the one before has left its data in the caches and perhaps its
            # threads spinning, of which a slow one notices nothing.
            if not slow[k] and found[k][1] <= 10 * plan.slow_seconds:
                ready.fence(ready.call())
            times[k].seconds.append(sample(ready, times[k].repeats, plan, clock))
    return times
