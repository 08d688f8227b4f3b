"""The rows of docs/use/migrating.md, run as they are written: both sides agree."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

import jaxtemp

PAGE = Path(__file__).parents[1] / "docs" / "use" / "migrating.md"
DRAWS, LEAST = 20_000, 1e-4  # of a p-value

rng = np.random.default_rng(0)
Z, V = (3 * rng.normal(size=(2, 4, 6))).astype(np.float32)
Q = rng.dirichlet(np.ones(6), size=4).astype(np.float32)
LABELS, TAU, SMOOTHING = np.array([0, 3, 5, 3]), 0.7, 0.1
KEYS = jax.random.split(jax.random.key(0), DRAWS)


def there_and_here(title):
    """What the rows of a section call in the first column, and in the second."""
    section = PAGE.read_text("utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line.split(" | ") for line in section.splitlines() if line[:2] == "| "]
    cells = [[re.findall("`([^`]+)`", cell) for cell in line[:2]] for line in lines]
    return {there[0]: "".join(here) for there, here in cells if there}


def compiled(code, known, names):
    """What the code returns as one compiled program of its arrays."""
    arrays = {n: x for n, x in names.items() if isinstance(x, np.ndarray | jax.Array)}
    return jax.jit(lambda arrays: eval(code, known | names | arrays))(arrays)


def ours(code, **names):
    """What the second column's code returns."""
    known = {name: getattr(jaxtemp, name) for name in dir(jaxtemp) if name[0] != "_"}
    return compiled(code, known | {"jaxtemp": jaxtemp, "jnp": jnp}, names)


def assert_one_law(some, others):
    """Ids of two samplers have the same frequencies."""
    size = int(max(np.max(some), np.max(others))) + 1
    table = np.array([np.bincount(np.ravel(x), minlength=size) for x in (some, others)])
    found = scipy.stats.chi2_contingency(table[:, table.sum(axis=0) > 10])
    assert found.pvalue > LEAST


NN = there_and_here("jax.nn")
RANDOM = there_and_here("jax.random")
OPTAX = there_and_here("optax")
TORCH = there_and_here("PyTorch")


@pytest.mark.parametrize("there", [code for code in NN if "[:, None]" not in code])
def test_a_function_of_jax_nn(there):
    names = {"z": Z, "t": TAU, "p": jax.nn.softmax(Z / TAU)}
    found = compiled(there, {"jax": jax}, names)
    np.testing.assert_allclose(found, ours(NN[there], z=Z, t=TAU), 2e-6, 2e-6)


@pytest.mark.parametrize("there", list(RANDOM)[:4])
def test_a_draw_of_jax_random(there):
    p, n = Q[0], 2
    names = {"p": p, "z": jnp.log(p), "t": TAU, "n": n}
    if there.startswith("vmap"):
        rows = {"keys": KEYS, "z": jnp.broadcast_to(jnp.log(p), (DRAWS, 6))}
        found = compiled(there, vars(jax.random) | {"vmap": jax.vmap}, rows)
        assert_one_law(found, ours(RANDOM[there], **rows))
        return

    def drawn(module, code):
        known = vars(module) | names | {"jnp": jnp, "jaxtemp": jaxtemp}
        return jax.jit(jax.vmap(lambda key: eval(code, known | {"key": key})))(KEYS)

    some, others = drawn(jax.random, there), drawn(jaxtemp, RANDOM[there])
    assert some.shape == others.shape
    if some.ndim == 2:  # pairs without replacement
        some, others = (x @ jnp.array([6, 1]) for x in (some, others))
    assert_one_law(some, others)


@pytest.mark.parametrize("there", list(OPTAX)[:3])
def test_a_loss_of_optax(there):
    names = {"z": Z, "v": V, "q": Q, "y": LABELS, "t": TAU}
    found = compiled(there, vars(optax.losses) | vars(jax.nn), names)
    np.testing.assert_allclose(found, ours(OPTAX[there], **names), 2e-6)


def test_a_projection_of_optax():
    (there,) = [code for code in OPTAX if "projection_simplex" in code]
    names = {"z": Z[0], "t": TAU}
    found = compiled(there, {"projections": optax.projections}, names)
    np.testing.assert_allclose(found, ours(OPTAX[there], **names), atol=2e-6)


@pytest.fixture(scope="module")
def there():
    """Runs what PyTorch's first column has."""
    torch = pytest.importorskip(
        "torch", reason="PyTorch is no dependency: install it to check its rows"
    )
    from torch.distributions import Categorical, RelaxedOneHotCategorical

    known = {
        "torch": torch,
        "F": torch.nn.functional,
        "Categorical": Categorical,
        "RelaxedOneHotCategorical": RelaxedOneHotCategorical,
    }

    def run(code, **names):
        tensors = {
            name: torch.tensor(x) if isinstance(x, np.ndarray) else x
            for name, x in names.items()
        }
        torch.manual_seed(0)
        return eval(code, known | tensors)

    return run


def pair(text):
    (found,) = [code for code in TORCH if text in code]
    return found, TORCH[found]


def test_pytorch_softmax(there):
    code, here = pair("F.softmax")
    np.testing.assert_allclose(
        there(code, z=Z, t=TAU), ours(here, z=Z, t=TAU), atol=1e-6
    )


def test_pytorch_categorical(there):
    code, here = pair("Categorical(logits=z / t).sample")
    names = {"z": Z[:2], "t": TAU, "n": DRAWS}
    some = there(code, **names).numpy()
    others = ours(here, key=KEYS[0], batch=(2,), **names)
    assert some.shape == others.shape
    for one, other in zip(some.T, others.T, strict=True):
        assert_one_law(one, other)


def test_pytorch_multinomial(there):
    code, here = pair("multinomial")
    p = np.tile(Q[0], (DRAWS, 1))
    some = there(code, p=p, n=2).numpy()
    others = ours(here, key=KEYS[0], p=p, n=2, batch=(DRAWS,))
    assert_one_law(some @ [6, 1], [6, 1] @ np.asarray(others))


@pytest.mark.parametrize("hard", [False, True])
def test_pytorch_gumbel_softmax(there, hard):
    code, here = pair("gumbel_softmax")
    names = {"z": np.tile(Z[0], (DRAWS, 1)), "tau": TAU, "hard": hard}
    some = there(code, **names).numpy()
    others = np.asarray(ours(here, key=KEYS[0], **names))
    if hard:
        assert_one_law(some.argmax(-1), others.argmax(-1))
    else:
        for one, other in zip(some.T, others.T, strict=True):
            assert scipy.stats.ks_2samp(one, other).pvalue > LEAST


def test_pytorch_relaxed(there):
    code, here = pair("RelaxedOneHot")
    x = np.array(jaxtemp.random.Concrete(Z, TAU).sample(KEYS[0]))
    np.testing.assert_allclose(
        there(f"{code}.log_prob(x)", z=Z, t=there("torch.tensor(t)", t=TAU), x=x),
        ours(here, z=Z, t=TAU).log_prob(x),
        rtol=1e-5,
    )
    tau = np.float32([0.5, 0.7, 1.0, 2.0])
    right = ours(here, z=Z, t=tau).log_prob(x)
    wrong = there(f"{code}.log_prob(x)", z=Z, t=tau[:, None], x=x)
    assert wrong.shape == (4, 4)  # of each row at each temperature
    np.testing.assert_allclose(np.diagonal(wrong), right, rtol=1e-5)


def test_pytorch_cross_entropy(there):
    code, here = pair("cross_entropy")
    names = {"z": Z, "y": LABELS, "t": TAU, "s": SMOOTHING}
    np.testing.assert_allclose(
        there(code, **names), ours(here, **names).mean(), rtol=2e-6
    )
    padded = names | {"y": np.array([0, 3, -100, 3])}
    here = here[:-1] + ", ignore_index=-100)"
    np.testing.assert_allclose(
        there(code, **padded),
        ours(here, **padded).sum() / 3,
        rtol=2e-6,
    )


def test_pytorch_divergence(there):
    code, here = pair("kl_div")
    names = {"log_p": np.array(jax.nn.log_softmax(Z / TAU)), "t": TAU}
    q = np.array(jax.nn.softmax(V / TAU))
    found = there(code, q=q, **names)
    want = ours(here, z=Z, v=V, t=TAU)
    np.testing.assert_allclose(found, want, rtol=2e-6)


def test_pytorch_a_fitted_temperature(there):
    code, here = pair("nn.Parameter")
    torch = there("torch")
    z = np.float32(3 * np.random.default_rng(1).normal(size=(2000, 10)))
    y = np.array(jaxtemp.categorical(KEYS[0], z, 1.5))
    tau = there(code, nn=torch.nn)
    steps = torch.optim.LBFGS([tau], line_search_fn="strong_wolfe", max_iter=100)

    def closure():
        steps.zero_grad()
        scaled = torch.tensor(z) / tau
        loss = torch.nn.functional.cross_entropy(scaled, torch.tensor(y).long())
        loss.backward()
        return loss

    steps.step(closure)
    fit = ours(here, z=z, y=y)
    np.testing.assert_allclose(tau.item(), fit.temperature, rtol=1e-3)
