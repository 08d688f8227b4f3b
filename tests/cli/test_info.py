"""What a bug report shows."""

import platform
import re
import subprocess
import sys

import jax
import pytest

from jaxtemp.cli import info
from jaxtemp.kernels import available

# Runs `info` where no extra can be imported.
BARE = """
import sys
for name in ("flax", "optax", "matplotlib", "sklearn", "tqdm", "scipy"):
    sys.modules.setdefault(name, None)
import runpy
sys.argv = ["jaxtemp", "info"]
runpy.run_module("jaxtemp", run_name="__main__", alter_sys=True)
"""


def parse(text):
    """The report as {section: {name: value}}."""
    found = re.findall(r"^(\w+)\n((?:  .*\n)+)", text, re.MULTILINE)
    assert "".join(f"{title}\n{body}" for title, body in found) == text
    return {
        title: dict(line.split(maxsplit=1) for line in body.splitlines())
        for title, body in found
    }


def test_info(capsys):
    assert info.run_info() == 0
    report = parse(capsys.readouterr().out)
    versions = report["versions"]
    assert versions["python"] == platform.python_version()
    assert versions["jax"] == jax.__version__
    for package in ("jaxtemp", "jaxlib", "numpy", "flax", "optax", "tqdm"):
        assert versions[package]
    devices = jax.devices()
    value = report["devices"][devices[0].platform]
    assert value == f"{len(devices)} x {devices[0].device_kind}"
    assert report["implementations"] == available()
    assert report["implementations"]["xla"] == "available"


def test_info_needs_no_extra(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BARE],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(parse(done.stdout)) == {
        "versions",
        "platform",
        "devices",
        "implementations",
    }


def test_what_is_missing_is_part_of_the_report(capsys, monkeypatch):
    def broken(backend=None):
        raise RuntimeError("Unable to initialize backend 'cuda':\nno driver")

    monkeypatch.setattr(jax, "devices", broken)
    monkeypatch.setattr(info, "_EXTRAS", ("no-such-package",))
    assert info.run_info() == 0
    report = parse(capsys.readouterr().out)
    assert report["versions"]["no-such-package"] == "not installed"
    assert report["devices"] == {
        "none": "Unable to initialize backend 'cuda': no driver"
    }


@pytest.mark.parametrize("words", [["info", "--help"]])
def test_info_has_a_help(words, capsys):
    from jaxtemp.cli import main

    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 0
    assert "python -m jaxtemp info" in capsys.readouterr().out
