import dataclasses
import itertools
import json

import numpy as np
import pytest

from bench.cases import AbsentError, Check, Contender
from bench.harness import run_case
from bench.timing import Plan
from tests.bench.fakes import ANSWER, FakeClock, workload

PLAN = Plan(sample_seconds=0.01, case_seconds=0.0, min_rounds=3, max_rounds=3)


def run(*contenders, clock):
    record = run_case(workload(*contenders), PLAN, clock)
    json.dumps(record, allow_nan=False)
    return record, {entry["name"]: entry for entry in record["contenders"]}


def test_figures_of_known_work():
    clock = FakeClock()
    record, entries = run(
        clock.contender("ours", "ours", 0.002),
        clock.contender("slower", "peer", 0.003),
        clock.contender("faster", "peer", 0.001),
        clock.contender("limit", "limit", 0.0005),
        clock=clock,
    )
    assert record["rounds"] == 3
    assert (record["mode"], record["rows"], record["classes"]) == ("forward", 3, 5)
    ours = entries["ours"]
    assert ours["seconds"] == pytest.approx({"q1": 0.002, "median": 0.002, "q3": 0.002})
    assert ours["gb_per_s"] == pytest.approx(1e6 / 0.002 / 1e9)
    assert ours["ratio"] is None
    assert (ours["error"], ours["temp_bytes"]) == (0.0, 64)
    ratios = {name: entries[name]["ratio"] for name in ("slower", "faster", "limit")}
    assert ratios["slower"]["median"] == pytest.approx(1.5)  # ours is faster
    assert ratios["faster"]["median"] == pytest.approx(0.5)  # ours is slower
    assert ratios["limit"]["median"] == pytest.approx(0.25)  # a quarter of the limit


@pytest.mark.parametrize("answer", [ANSWER + 0.5, ANSWER * np.nan])
def test_a_wrong_contender_is_not_timed(answer):
    clock = FakeClock()
    record, entries = run(
        clock.contender("ours", "ours", 0.002),
        clock.contender("wrong", "peer", 0.001, answer),
        clock.contender("limit", "limit", 0.0005),
        clock=clock,
    )
    assert entries["wrong"]["status"] == "wrong"
    assert "above 1e-06" in entries["wrong"]["note"]
    assert entries["wrong"]["seconds"] is None
    assert entries["wrong"]["ratio"] is None
    assert entries["ours"]["status"] == "ok"
    assert record["rounds"] == 3
    assert clock.log.count("wrong") == 2  # the check's two calls


def test_without_ours_there_is_no_ratio():
    clock = FakeClock()
    _, entries = run(
        clock.contender("ours", "ours", 0.002, ANSWER + 1),
        clock.contender("peer", "peer", 0.001),
        clock.contender("limit", "limit", 0.0005),
        clock=clock,
    )
    assert entries["ours"]["status"] == "wrong"
    assert entries["peer"]["seconds"]["median"] == pytest.approx(0.001)
    assert entries["peer"]["ratio"] is None


@pytest.mark.parametrize(("required", "met"), [(1.5, True), (1.6, False), (None, None)])
def test_a_promise_is_kept_or_not(required, met):
    clock = FakeClock()
    peer = clock.contender("peer", "peer", 0.003)
    _, entries = run(
        clock.contender("ours", "ours", 0.002),
        dataclasses.replace(peer, required=required),
        clock=clock,
    )
    assert (entries["peer"]["required"], entries["peer"]["met"]) == (required, met)
    assert entries["ours"]["met"] is None


@pytest.mark.parametrize(("limit", "met"), [(64, True), (63, False), (None, None)])
def test_scratch_memory_is_promised(limit, met):
    clock = FakeClock()
    work = workload(
        clock.contender("ours", "ours", 0.002), clock.contender("peer", "peer", 0.002)
    )
    record = run_case(dataclasses.replace(work, temp_limit=limit), PLAN, clock)
    ours, peer = record["contenders"]
    assert (ours["temp_bytes"], ours["temp_limit"], ours["met"]) == (64, limit, met)
    assert (peer["temp_limit"], peer["met"]) == (None, None)


def test_a_slow_peer_is_paired_with_the_first_rounds():
    clock = FakeClock()
    plan = Plan(case_seconds=0.0, min_rounds=5, max_rounds=5, slow_rounds=2)
    work = workload(
        clock.contender("ours", "ours", 0.02), clock.contender("slow", "peer", 0.6)
    )
    record = run_case(work, plan, clock)
    assert record["rounds"] == 5
    assert record["contenders"][1]["ratio"]["median"] == pytest.approx(30)
    assert clock.log.count("slow") == 2 + 2 + 2  # checked, repeats found, two rounds


def test_other_work_has_its_own_check():
    clock = FakeClock()
    other = clock.contender("other", "peer", 0.001, ANSWER + 1)
    own = Check(lambda outputs: float(np.abs(outputs[0] - ANSWER - 1).max()), 1e-6)
    _, entries = run(
        clock.contender("ours", "ours", 0.002),
        dataclasses.replace(other, check=own),
        clock=clock,
    )
    assert entries["other"]["status"] == "ok"


def test_absent_and_failing_contenders_are_recorded():
    clock = FakeClock()

    def absent():
        raise AbsentError("it is not installed")

    def failing():
        raise RuntimeError("out of memory\nwith a long story")

    _, entries = run(
        clock.contender("ours", "ours", 0.002),
        Contender("absent", "peer", "", absent),
        Contender("failing", "peer", "", failing),
        clock.contender("limit", "limit", 0.0005),
        clock=clock,
    )
    told = {name: (e["status"], e["note"]) for name, e in entries.items()}
    assert told["absent"] == ("absent", "it is not installed")
    assert told["failing"] == ("failed", "RuntimeError: out of memory")
    assert entries["failing"]["seconds"] is None


def test_one_that_fails_while_it_is_timed_is_recorded_and_left_out():
    clock = FakeClock()
    fine = clock.ready("failing", 0.001)
    calls = itertools.count()

    def call():
        if next(calls) > 3:
            raise MemoryError("out of memory\nwith a long story")
        return fine.call()

    failing = dataclasses.replace(fine, call=call)
    record, entries = run(
        clock.contender("ours", "ours", 0.002),
        Contender("failing", "peer", "", lambda: failing),
        clock.contender("limit", "limit", 0.0005),
        clock=clock,
    )
    told = entries["failing"]
    assert (told["status"], told["note"]) == ("failed", "MemoryError: out of memory")
    assert (told["seconds"], told["ratio"], told["error"]) == (None, None, 0.0)
    assert record["rounds"] == 3
    assert entries["limit"]["ratio"]["median"] == pytest.approx(0.25)
