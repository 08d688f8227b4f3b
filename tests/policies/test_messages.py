"""Bad input: every message is pinned."""

import jax
import numpy as np
import pytest

import jaxtemp
from jaxtemp.policies import Boltzmann, kl_divergence, mix, with_entropy

Q = np.zeros((2, 3), np.float32)
POLICY = Boltzmann(Q)
KEY = jax.random.key(0)

BAD = {
    "temperature": (
        lambda: Boltzmann(Q, -1.0),
        ValueError,
        (
            "`temperature` must be in [0, inf], got -1.0; "
            "pass 0 for the most likely class, inf for all alike."
        ),
    ),
    "temperature of actions": (
        lambda: Boltzmann(Q, np.ones(3, np.float32)),
        ValueError,
        (
            "`temperature` must broadcast to the batch shape (2,) (the logits' shape "
            "without the class axis), got shape (3,); "
            "pass one number, or one for each row."
        ),
    ),
    "integer values": (
        lambda: Boltzmann(Q.astype(np.int32)),
        TypeError,
        (
            "`logits` must be real floating point, got dtype int32; convert it first, "
            "for example `logits.astype(jnp.float32)`."
        ),
    ),
    "mask": (
        lambda: Boltzmann(Q, where=np.ones(3)),
        TypeError,
        (
            "`where` must be boolean, got dtype float32; "
            "compare first, for example `where=mask != 0`."
        ),
    ),
    "shape": (
        lambda: POLICY.sample(KEY, -1),
        ValueError,
        (
            "`shape` must be a tuple of ints >= 0, got -1; "
            "pass `(n,)` for n draws from every row."
        ),
    ),
    "key": (
        lambda: POLICY.sample(0),
        TypeError,
        ("`key` must be a JAX random key, got int; make one with `jax.random.key(0)`."),
    ),
    "actions of numbers": (
        lambda: POLICY.log_prob(np.ones(2, np.float32)),
        TypeError,
        ("`actions` must be integers, got dtype float32; pass what `sample` returns."),
    ),
    "actions of another shape": (
        lambda: POLICY.log_prob(np.ones(3, np.int32)),
        ValueError,
        (
            "`actions` must broadcast with the batch shape (2,), got shape (3,); "
            "pass what `sample` returns."
        ),
    ),
    "target": (
        lambda: with_entropy(Q, -0.5),
        ValueError,
        (
            "`target_entropy` must be in [0, inf], got -0.5; "
            "pass nats, at most the log of the number of classes."
        ),
    ),
    "share": (
        lambda: mix(POLICY, 1.5),
        ValueError,
        (
            "`epsilon` must be in [0, 1], got 1.5; "
            "pass the share of uniform actions, 0 for none."
        ),
    ),
    "mixing an array": (
        lambda: mix(Q, 0.1),
        TypeError,
        (
            "`policy` must be a Boltzmann policy, got ndarray; "
            "make one, for example `Boltzmann(logits, temperature)`."
        ),
    ),
    "p": (
        lambda: kl_divergence(Q, POLICY),
        TypeError,
        (
            "`p` must be a Boltzmann policy, got ndarray; "
            "make one, for example `Boltzmann(logits, temperature)`."
        ),
    ),
    "q": (
        lambda: kl_divergence(POLICY, None),
        TypeError,
        (
            "`q` must be a Boltzmann policy, got NoneType; "
            "make one, for example `Boltzmann(logits, temperature)`."
        ),
    ),
    "other actions": (
        lambda: kl_divergence(POLICY, Boltzmann(Q[:, :1])),
        ValueError,
        (
            "`q` must have a batch shape that broadcasts with that of `p`, (2,), and "
            "as many actions, 3, got (2,) and 1; compare policies over the same "
            "actions."
        ),
    ),
    "other rows": (
        lambda: kl_divergence(POLICY, Boltzmann(np.zeros((5, 3)))),
        ValueError,
        (
            "`q` must have a batch shape that broadcasts with that of `p`, (2,), and "
            "as many actions, 3, got (5,) and 3; compare policies over the same "
            "actions."
        ),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_messages(case):
    call, error, message = BAD[case]
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("call", "name", "rule"),
    [
        (lambda x: Boltzmann(Q, x).entropy(), "temperature", "in [0, inf]"),
        (lambda x: mix(POLICY, x).entropy(), "epsilon", "in [0, 1]"),
    ],
)
def test_traced_arguments_are_checked_on_request(call, name, rule):
    checked = jaxtemp.checked(jax.jit(call))
    with pytest.raises(Exception, match=f"`{name}` must be"):
        checked(-0.5)
    assert checked(0.5).shape == (2,)
