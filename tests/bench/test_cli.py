import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

import jaxtemp
from bench import cli
from tests.bench.fakes import quick_sizes

ROOT = Path(__file__).resolve().parents[2]

KEYS = (
    "schema op quick complete date command seed device machine versions plan bandwidth "
    "checks cases summary"
)
CASE_KEYS = "mode rows classes dtype temperature bytes rounds contenders"
ENTRY_KEYS = (
    "name role expression status note error temp_bytes temp_limit required repeats "
    "seconds gb_per_s ratio met"
)


def only_result(folder):
    (path,) = folder.iterdir()
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("op", ["softmax", "mean_energy"])
def test_quick_run_writes_the_documented_schema(op, tmp_path, capsys):
    argv = [op, "--quick", "--device", "cpu", "--out", str(tmp_path)]
    assert cli.main(argv) == 0
    result = only_result(tmp_path)
    assert set(result) == set(KEYS.split())
    assert (result["schema"], result["op"]) == (3, op)
    assert (result["quick"], result["complete"]) == (True, True)
    assert result["command"] == f"python -m bench {' '.join(argv)}"
    assert result["device"]["platform"] == "cpu"
    assert result["machine"]["cores"] >= 1
    assert result["versions"]["jax"]
    assert result["checks"] == []
    assert result["bandwidth"]["bytes"] == 16 * 4 * 65536
    assert result["bandwidth"]["copy_gb_per_s"] > 0
    assert result["bandwidth"]["read_gb_per_s"] > 0
    assert {case["mode"] for case in result["cases"]} == {"forward", "value_and_grad"}
    assert {case["dtype"] for case in result["cases"]} == {"float32", "bfloat16"}
    assert {case["temperature"] for case in result["cases"]} == {"row", "scalar"}
    for case in result["cases"]:
        assert set(case) == set(CASE_KEYS.split())
        entries = {entry["name"]: entry for entry in case["contenders"]}
        assert list(entries) == ["jaxtemp", "jax.nn", "torch", "limit"]
        for name, entry in entries.items():
            assert set(entry) == set(ENTRY_KEYS.split())
            if name == "torch" and entry["status"] == "absent":
                continue
            assert entry["status"] == "ok", entry
            quartiles = entry["seconds"]
            assert 0 < quartiles["q1"] <= quartiles["median"] <= quartiles["q3"]
            assert entry["gb_per_s"] > 0
            assert (entry["ratio"] is None) == (name == "jaxtemp")
    printed = capsys.readouterr().out
    assert printed.count("\nforward  ") + printed.count("\nvalue_and_grad  ") == len(
        result["cases"]
    )
    assert "forward: jax.nn / ours: median" in printed
    assert "value_and_grad: of the limit: median" in printed


def test_a_wrong_op_of_ours_is_caught(monkeypatch, tmp_path, capsys):
    def halved(z, tau):
        return (jnp.ones_like(z) / z.shape[-1] / 2).astype(z.dtype)

    monkeypatch.setattr(jaxtemp, "softmax", halved)
    quick_sizes(monkeypatch, (16, 4))
    assert cli.main(["softmax", "--quick", "--out", str(tmp_path)]) == 1
    for case in only_result(tmp_path)["cases"]:
        ours = case["contenders"][0]
        assert (ours["status"], ours["seconds"]) == ("wrong", None)
        assert case["contenders"][1]["status"] == "ok"
    assert "jaxtemp wrong: error" in capsys.readouterr().out


def test_list_runs_nothing(capsys):
    assert cli.main(["--list", "--device", "gpu"]) == 0
    listed = capsys.readouterr().out
    for op in cli.OPS:
        assert f"{op}: " in listed
    assert "forward 256x262144 float32 row τ" in listed


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["softmx"],
            "bench: unknown op `softmx`; the ops are " + ", ".join(cli.OPS) + "\n",
        ),
        (
            ["--device", "abacus"],
            (
                "bench: argument --device: invalid choice: 'abacus' "
                "(choose from cpu, gpu, tpu)\n"
            ),
        ),
        (["--fast"], "bench: unrecognized arguments: --fast\n"),
    ],
)
def test_misuse_gets_one_line(argv, message, capsys):
    try:
        code = cli.main(argv)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    # Python 3.11 quotes the choices, later ones do not.
    assert captured.err.replace("'cpu', 'gpu', 'tpu'", "cpu, gpu, tpu") == message


def test_a_device_that_is_not_there(monkeypatch, capsys):
    def no_devices(platform):
        raise RuntimeError("a long\nstory")

    monkeypatch.setattr(cli.jax_side.jax, "devices", no_devices)
    assert cli.main(["softmax", "--device", "tpu"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("bench: `--device`: JAX finds no tpu here (its default is ")
    assert error.count("\n") == 1


def test_a_folder_that_cannot_be(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("")
    assert cli.main(["softmax", "--quick", "--out", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("bench: `--out`: cannot write there: ")
    assert error.count("\n") == 1


def test_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--list", "--quick", "entropy"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("entropy: 10 cases on ")


@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed"
)
def test_pytorch_is_timed_where_it_is_installed(tmp_path):
    assert (
        cli.main(["entropy", "--quick", "--device", "cpu", "--out", str(tmp_path)]) == 0
    )
    for case in only_result(tmp_path)["cases"]:
        torch = next(e for e in case["contenders"] if e["name"] == "torch")
        assert torch["status"] == "ok", torch
        assert torch["ratio"]["median"] > 0
