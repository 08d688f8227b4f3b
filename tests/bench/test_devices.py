"""What a device decides: sizes, contenders, and what is checked before it is timed."""

import json
import sys
import types

import jax
import numpy as np
import pytest

from bench import cli, harness, scaling, sizes, timing, torch_side
from bench.cases import Case
from tests.bench.fakes import quick_sizes

BYTES = {"float32": 4, "bfloat16": 2}
VOCABULARIES = {1024, 8192, 32000, 131072, 262144}


def full_classes(op, mode, dtype):
    """The classes of the cases whose logits fill 256 MB."""
    return {
        case.classes
        for case in cli.OPS[op].cases("gpu", quick=False)
        if (case.mode, case.dtype) == (mode, dtype)
        and case.rows * case.classes * BYTES[dtype] >= 256e6
    }


@pytest.mark.parametrize("dtype", BYTES)
def test_full_sizes_reach_from_short_to_long_vocabularies(dtype):
    for mode in ("forward", "backward"):
        assert full_classes("softmax", mode, dtype) == VOCABULARIES
    assert full_classes("cross_entropy", "value_and_grad", dtype) >= {1024, 262144}
    assert 131072 in full_classes("categorical", "draw", dtype)
    assert 131072 in full_classes("sample", "top_p", dtype)
    assert 131072 in full_classes("sample", "top_k", dtype)


def test_the_promised_batch_of_top_p_is_a_case():
    cases = cli.OPS["sample"].cases("gpu", quick=False)
    assert Case("top_p", 512, 131072, "float32") in cases


def test_every_platform_has_its_table_and_its_plan():
    assert set(sizes.SIZES) == set(cli.PLANS) == {"cpu", "gpu", "tpu"}
    for op in cli.OPS.values():
        for platform in sizes.SIZES:
            for quick in (True, False):
                assert op.cases(platform, quick=quick)


@pytest.fixture
def workload(monkeypatch):
    """The work of a case on a device that is not there: its arrays stay here."""
    put = jax.device_put
    monkeypatch.setattr(jax, "device_put", lambda x, device=None: put(x))

    def made(op, mode, platform, dtype="float32", temperature="row"):
        device = types.SimpleNamespace(platform=platform)
        case = Case(mode, 8, 256, dtype, temperature)
        return cli.OPS[op].workload(case, device, np.random.default_rng(0))

    return made


@pytest.mark.parametrize(
    ("op", "mode", "everywhere", "gpu"),
    [
        ("softmax", "forward", ["jax.nn", "torch"], ["liger", "quack", "flashinfer"]),
        ("softmax", "backward", ["jax.nn", "torch"], ["liger", "quack"]),
        ("entropy", "forward", ["jax.nn", "torch"], []),
        ("cross_entropy", "forward", ["optax", "F.cross_entropy"], ["liger", "quack"]),
        ("sample", "top_k", ["sort, jax", "sort, torch"], ["flashinfer"]),
    ],
)
def test_contenders_are_chosen_by_device(op, mode, everywhere, gpu, workload):
    def peers(platform):
        work = workload(op, mode, platform)
        ours, *others, limit = work.contenders
        assert (ours.role, limit.role) == ("ours", "limit")
        return {c.name.removeprefix("sort, ") for c in others}

    everywhere = {name.removeprefix("sort, ") for name in everywhere}
    assert peers("cpu") == everywhere
    assert peers("tpu") == everywhere | {"xla"}
    assert peers("gpu") == everywhere | {"xla", "torch.compile", *gpu}


def test_xla_promises_that_ours_is_never_slower(workload):
    for platform in ("gpu", "tpu"):
        for op, mode in (("softmax", "forward"), ("categorical", "draw")):
            contenders = workload(op, mode, platform).contenders
            (xla,) = (c for c in contenders if c.name == "xla")
            assert 0.95 <= xla.required <= 1
            assert 'implementation="xla"' in xla.expression


def test_promises_of_a_gpu_are_made_where_its_memory_is_full():
    op = cli.OPS["sample"]
    large = Case("top_p", 512, 131072, "float32")
    for peer in op.tasks["top_p"].peers:
        least = None if peer.name == "sort, jax" else 1.0
        assert peer.promised(large, "gpu") == least
        assert peer.promised(Case("top_p", 64, 131072, "float32"), "gpu") is None
        assert peer.promised(large, "tpu") is None


def entry(workload, name):
    contender = next(c for c in workload.contenders if c.name == name)
    return harness._admit(contender, workload)[0]


@pytest.fixture
def torch(monkeypatch):
    """PyTorch on a CPU in place of a GPU."""
    torch = pytest.importorskip("torch")
    tensor, prepare = torch_side.tensor, torch_side.prepare
    monkeypatch.setattr(torch_side, "load", lambda platform: torch)
    monkeypatch.setattr(torch_side, "tensor", lambda t, x, _: tensor(t, x, "cpu"))
    monkeypatch.setattr(
        torch_side,
        "prepare",
        lambda t, op, _, *args, **options: prepare(t, op, "cpu", *args, **options),
    )
    return torch


def put_library(monkeypatch, name, **functions):
    """A module of this name that has these functions."""
    parts = name.split(".")
    for k in range(1, len(parts)):
        parent = ".".join(parts[:k])
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    module = types.ModuleType(name)
    vars(module).update(functions)
    monkeypatch.setitem(sys.modules, name, module)


def test_a_library_that_is_missing_is_absent(workload, torch, monkeypatch):
    monkeypatch.setitem(sys.modules, "quack", None)
    found = entry(workload("softmax", "forward", "gpu"), "quack")
    assert found["status"] == "absent"
    assert found["note"].startswith("`quack.softmax` cannot be imported: ")


def test_a_library_that_breaks_on_import_is_absent(monkeypatch, tmp_path):
    (tmp_path / "broken_kernels.py").write_text("raise OSError('no driver\\nhere')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(torch_side.AbsentError, match=r"OSError: no driver$"):
        torch_side.library("broken_kernels")


def test_a_library_that_fails_or_is_wrong_is_recorded(workload, torch, monkeypatch):
    def fails(x):
        raise RuntimeError("invalid configuration argument\nat a line")

    put_library(monkeypatch, "quack.softmax", softmax=fails)
    work = workload("softmax", "forward", "gpu")
    found = entry(work, "quack")
    assert found["status"] == "failed"
    assert found["note"] == "RuntimeError: invalid configuration argument"
    put_library(monkeypatch, "quack.softmax", softmax=lambda x: x.softmax(-1) / 2)
    assert entry(work, "quack")["status"] == "wrong"
    put_library(monkeypatch, "quack.softmax", softmax=lambda x: x.softmax(-1))
    assert entry(work, "quack")["status"] == "ok"


@pytest.mark.parametrize("temperature", ["row", "scalar"])
def test_a_backward_pass_alone_is_right(temperature, workload, torch):
    work = workload("softmax", "backward", "gpu", "bfloat16", temperature)
    for name in ("jaxtemp", "jax.nn", "torch"):
        assert entry(work, name)["status"] == "ok", name


def test_a_wrong_backward_pass_is_called_wrong(workload):
    work = workload("softmax", "backward", "gpu")
    ready = next(c for c in work.contenders if c.role == "ours").prepare()
    dz, dtau = ready.fetch(ready.call())
    assert work.check.error([dz, dtau]) < 1e-5
    assert work.check.error([1.01 * dz, dtau]) > 1e-3
    assert work.check.error([dz, 1.01 * dtau]) > 1e-4
    assert work.check.error([dz]) == np.inf


def test_what_torch_compile_cannot_do_is_recorded(workload, torch, monkeypatch):
    def refuses(function, **options):
        raise RuntimeError("no compiler\nfound")

    monkeypatch.setattr(torch, "compile", refuses)
    found = entry(workload("softmax", "value_and_grad", "gpu"), "torch.compile")
    assert (found["status"], found["note"]) == ("failed", "RuntimeError: no compiler")


def test_torch_compile_runs_the_formula(workload, torch, monkeypatch):
    seen = []

    def compiled(function, *, dynamic):
        assert dynamic is False
        return lambda *args: seen.append(len(args)) or function(*args)

    monkeypatch.setattr(torch, "compile", compiled)
    for op, mode in (("softmax", "backward"), ("cross_entropy", "value_and_grad")):
        assert entry(workload(op, mode, "gpu"), "torch.compile")["status"] == "ok"
    assert seen


@pytest.fixture
def like_an_accelerator(monkeypatch):
    """A CPU whose table and plan are as short as those of an accelerator are long."""
    quick_sizes(monkeypatch, (16, 4))
    table = sizes.SIZES["cpu"]._replace(
        check_first=True, family={"forward": ((32, 8),)}
    )
    monkeypatch.setitem(sizes.SIZES, "cpu", table)
    monkeypatch.setitem(cli.PLANS, "cpu", cli.QUICK)
    monkeypatch.setattr("bench.bandwidth.FILL", 1 << 20)


def run(tmp_path, *argv):
    code = cli.main(["entropy", "--device", "cpu", "--out", str(tmp_path), *argv])
    (path,) = tmp_path.iterdir()
    return code, json.loads(path.read_text(encoding="utf-8"))


def test_ours_is_checked_before_anything_is_timed(
    like_an_accelerator, tmp_path, capsys
):
    code, result = run(tmp_path)
    assert (code, result["complete"]) == (0, True)
    assert [check["status"] for check in result["checks"]] == ["ok"] * 3
    assert {(c["rows"], c["classes"]) for c in result["checks"]} == {(16, 4)}
    assert all(0 <= check["error"] < 1e-2 for check in result["checks"])
    assert [case["rows"] for case in result["cases"]] == [32, 32]
    assert "right in 3 of 3 small cases" in capsys.readouterr().out


def test_what_is_wrong_at_first_is_told(
    like_an_accelerator, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr("jaxtemp.entropy", lambda z, tau: z.sum(-1))
    code, result = run(tmp_path)
    assert code == 1
    assert [check["status"] for check in result["checks"]] == ["wrong"] * 3
    assert "    forward 16x4 float32 wrong: error " in capsys.readouterr().out


def test_no_case_begins_when_the_minutes_are_over(
    like_an_accelerator, tmp_path, capsys
):
    code, result = run(tmp_path, "--minutes", "0")
    assert (code, result["complete"], result["cases"]) == (0, False, [])
    assert len(result["checks"]) == 3
    assert "2 cases are left out" in capsys.readouterr().out


def test_the_plan_of_an_accelerator_waits_once_a_sample():
    for platform in ("gpu", "tpu"):
        assert cli.PLANS[platform].fence_each is False
        assert cli.PLANS[platform].min_rounds >= 11
    assert timing.Plan().fence_each is True


def test_scaling_follows_each_op_along_the_classes_and_the_rows():
    for op in scaling.MODES:
        cases = [
            c for c in cli.OPS["scaling"].cases("cpu", quick=False) if c.mode == op
        ]
        assert {c.classes for c in cases if c.rows == 32} >= {128, 1_000_000}
        assert {c.rows for c in cases if c.classes == 32_000} >= {1, 32, 512}
        assert len(set(cases)) == len(cases)


def test_a_case_of_scaling_is_the_work_of_its_op(workload):
    work = workload("scaling", "sample", "cpu")
    assert work.case == Case("sample", 8, 256, "float32")
    ours, *peers, _ = (c.expression for c in work.contenders)
    assert ours == "jaxtemp.sample(key, z, τ, top_p=0.9)"
    assert len(peers) == 2
