"""The README is executed: what it shows is what a reader gets."""

import contextlib
import io
import itertools
import re
import shlex
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxtemp

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = FENCE.findall(README)


def section(title):
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def run(source):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(source, "README.md", "exec"), {"__name__": "__main__"})
    return out.getvalue()


def test_every_python_block_prints_what_is_shown_below_it():
    languages = [language for language, _ in BLOCKS]
    assert languages.count("python") == languages.count("text") >= 1
    for (language, source), (after, shown) in itertools.pairwise(BLOCKS):
        if language == "python":
            assert after == "text"
            assert run(source) == shown


def test_the_first_example_is_short_and_comes_first():
    language, source = BLOCKS[0]
    assert language == "python"
    assert len([line for line in source.splitlines() if line.strip()]) <= 12
    assert README.index("```python") < README.index("\n## ")


@pytest.mark.parametrize(
    ("title", "module"), [("Try it", "jaxtemp"), ("Test it", "pytest")]
)
def test_a_section_has_one_command_that_sets_itself_up(title, module):
    ((language, command),) = FENCE.findall(section(title))
    assert language == "bash"
    assert command.count("\n") == 1
    words = shlex.split(command)
    assert words[:4] == ["python3", "-m", "venv", ".venv"]
    assert ".venv/bin/pip" in words
    run_at = words.index(".venv/bin/python")
    assert words[run_at + 1 : run_at + 3] == ["-m", module]


def test_the_commands_install_what_they_run():
    assert '-e ".[examples]"' in section("Try it")
    assert '-e ".[test]"' in section("Test it")


def test_there_are_no_other_bash_blocks():
    assert [language for language, _ in BLOCKS].count("bash") == 2


def usual(z, tau):
    return jax.nn.softmax(z / tau)


def probabilities(z, tau):
    """The softmax of float64 arithmetic, of logits and a temperature as they are."""
    z, tau = np.asarray(z, np.float64), np.float64(tau)
    p = np.exp((z - z.max(-1, keepdims=True)) / tau)
    return p / p.sum(-1, keepdims=True)


def normal(scale, dtype=jnp.float32, rows=50):
    sample = np.random.default_rng(0).normal(size=(rows, 8))
    return jnp.asarray(scale * sample, dtype)


class TestWhyNotTheUsualForm:
    """What the README says about `softmax(z / tau)`, measured again."""

    def test_zero(self):
        assert jnp.isnan(usual(normal(1), 0.0)).all()
        assert not jnp.isnan(jaxtemp.softmax(normal(1), 0.0)).any()

    def test_a_masked_class(self):
        z = jnp.array([2.0, 1.0, -jnp.inf])
        slopes = [
            jax.grad(lambda tau, f=f: f(z, tau)[0])(1.0)
            for f in (usual, jaxtemp.softmax)
        ]
        assert jnp.isnan(slopes[0])
        assert slopes[1] == pytest.approx(-0.196612, abs=1e-6)

    def test_a_tiny_temperature_under_jit(self):
        rows = normal(10)
        spoilt = jnp.isnan(jax.jit(usual)(rows, 1e-9)).any(-1).sum()
        if jax.__version__ == "0.10.2" and jax.default_backend() == "cpu":
            assert spoilt > 25
        assert not jnp.isnan(jax.jit(jaxtemp.softmax)(rows, 1e-9)).any()

    def test_a_negative_temperature(self):
        z = normal(1)
        assert (usual(z, -1.0).argmax(-1) == z.argmin(-1)).all()
        with pytest.raises(ValueError, match=r"`temperature` .* got -1\.0"):
            jaxtemp.softmax(z, -1.0)

    def test_one_temperature_per_row(self):
        z, tau = normal(1)[:8], np.geomspace(0.1, 10, 8).astype(np.float32)
        truth = np.stack([probabilities(*row) for row in zip(z, tau, strict=True)])
        assert np.abs(usual(z, tau) - truth).max() > 0.1
        np.testing.assert_allclose(jaxtemp.softmax(z, tau), truth, atol=1e-6)

    def test_a_common_offset(self):
        z, tau = normal(1e-3) + 1000, np.float32(1e-3)
        truth = probabilities(z, tau)
        assert np.abs(usual(z, tau) - truth).max() == pytest.approx(0.011, abs=1e-3)
        assert np.abs(jaxtemp.softmax(z, tau) - truth).max() < 7.5e-8

    def test_a_derivative_in_bfloat16(self):
        rows = normal(1, jnp.bfloat16, rows=100)
        x, p = np.asarray(rows, np.float64), probabilities(rows, 1.0)
        mean = np.sum(p * x, -1, keepdims=True)
        truth = -2 * np.sum(p * p * (x - mean), -1)
        worst = []
        for f in (usual, jaxtemp.softmax):
            slope = jax.grad(lambda tau, z, f=f: jnp.sum(f(z, tau) ** 2))
            slopes = jax.vmap(slope, (None, 0))(jnp.ones((), jnp.bfloat16), rows)
            error = np.abs(np.asarray(slopes, np.float64) - truth) / np.abs(truth)
            worst.append(error.max())
        assert worst[0] == pytest.approx(0.05, abs=0.005)
        assert worst[1] < 0.0065
