"""Bad input: every message is pinned."""

import jax
import numpy as np
import pytest

from jaxtemp.random.concrete import (
    BinaryConcrete,
    Concrete,
    ExpConcrete,
    LogitBinaryConcrete,
    kl_divergence,
)

Z = np.zeros((2, 3), np.float32)
KEY = jax.random.key(0)
ROW = ExpConcrete(Z, 1.0)
BIT = LogitBinaryConcrete(Z, 1.0)
NO_DENSITY = (
    "`temperature` must be in [1.17549e-38, 3.40282e+38], got {}; a density needs "
    "0 < τ < inf, so for τ = 0 draw with `jaxtemp.categorical`."
)

BAD = {
    "zero": (lambda: ExpConcrete(Z, 0.0), ValueError, NO_DENSITY.format("0.0")),
    "infinite": (lambda: Concrete(Z, np.inf), ValueError, NO_DENSITY.format("inf")),
    "negative": (lambda: BIT.__class__(Z, -1), ValueError, NO_DENSITY.format("-1.0")),
    "NaN": (lambda: BinaryConcrete(Z, np.nan), ValueError, NO_DENSITY.format("nan")),
    "zero in float32": (
        lambda: ExpConcrete(Z, 1e-60),
        ValueError,
        NO_DENSITY.format("1e-60"),
    ),
    "temperature of classes": (
        lambda: Concrete(Z, np.ones(3, np.float32)),
        ValueError,
        (
            "`temperature` must broadcast to the batch shape (2,) (the logits' shape "
            "without the class axis), got shape (3,); "
            "pass one number, or one for each row."
        ),
    ),
    "temperature of bits": (
        lambda: BinaryConcrete(Z, np.ones(2, np.float32)),
        ValueError,
        (
            "`temperature` must broadcast to the logits' shape (2, 3), got shape (2,); "
            "pass one number, or one for each logit."
        ),
    ),
    "temperature that is no number": (
        lambda: BinaryConcrete(Z, "hot"),
        TypeError,
        (
            "`temperature` must be an array or a number, got str; "
            "pass something that `jnp.asarray` accepts."
        ),
    ),
    "integer logits": (
        lambda: Concrete(Z.astype(np.int32), 1.0),
        TypeError,
        (
            "`logits` must be real floating point, got dtype int32; convert it first, "
            "for example `logits.astype(jnp.float32)`."
        ),
    ),
    "no classes": (
        lambda: Concrete(Z[:, :0], 1.0),
        ValueError,
        (
            "`logits` must have at least one class along axis -1, got shape (2, 0); "
            "an empty row has no distribution."
        ),
    ),
    "mask": (
        lambda: Concrete(Z, 1.0, where=np.ones(2, bool)),
        ValueError,
        (
            "`where` must broadcast to the logits' shape (2, 3), got shape (2,); "
            "add or remove axes so that it does."
        ),
    ),
    "integer point": (
        lambda: ROW.log_prob(Z.astype(np.int32)),
        TypeError,
        (
            "`x` must be real floating point, got dtype int32; convert it first, "
            "for example `x.astype(jnp.float32)`."
        ),
    ),
    "point of other classes": (
        lambda: ROW.log_prob(np.zeros((2, 4), np.float32)),
        ValueError,
        (
            "`x` must broadcast with the logits' shape (2, 3) and have all 3 classes, "
            "got shape (2, 4); pass what `sample` returns."
        ),
    ),
    "point that would be repeated over the classes": (
        lambda: ROW.log_prob(np.zeros((2, 1), np.float32)),
        ValueError,
        (
            "`x` must broadcast with the logits' shape (2, 3) and have all 3 classes, "
            "got shape (2, 1); pass what `sample` returns."
        ),
    ),
    "scalar point": (
        lambda: ROW.log_prob(0.0),
        ValueError,
        (
            "`x` must broadcast with the logits' shape (2, 3) and have all 3 classes, "
            "got shape (); pass what `sample` returns."
        ),
    ),
    "point of other bits": (
        lambda: BIT.log_prob(np.zeros(4, np.float32)),
        ValueError,
        (
            "`x` must broadcast with the logits' shape (2, 3), got shape (4,); "
            "pass what `sample` returns."
        ),
    ),
    "shape that is a number": (
        lambda: ROW.sample(KEY, 3),
        ValueError,
        (
            "`shape` must be a tuple of ints >= 0, got 3; "
            "pass `(n,)` for n draws from every row."
        ),
    ),
    "negative shape": (
        lambda: BIT.sample_and_log_prob(KEY, (2, -1)),
        ValueError,
        (
            "`shape` must be a tuple of ints >= 0, got (2, -1); "
            "pass `(n,)` for n draws from every row."
        ),
    ),
    "no key": (
        lambda: ROW.sample(0),
        TypeError,
        ("`key` must be a JAX random key, got int; make one with `jax.random.key(0)`."),
    ),
    "keys of another shape": (
        lambda: ROW.sample(jax.random.split(KEY, 3)),
        ValueError,
        (
            "`key` must be one key or an array of keys of the batch shape (2,), got "
            "keys of shape (3,); split one key with `jax.random.split(key, (2,))`."
        ),
    ),
    "one sample": (
        lambda: Concrete(Z, 1.0).estimate_entropy(KEY, 1),
        ValueError,
        (
            "`samples` must be an int >= 2, got 1; "
            "a standard error needs more than one draw."
        ),
    ),
    "samples that are no int": (
        lambda: kl_divergence(KEY, ROW, ROW, 1e3),
        ValueError,
        (
            "`samples` must be an int >= 2, got 1000.0; "
            "a standard error needs more than one draw."
        ),
    ),
    "divergence of something else": (
        lambda: kl_divergence(KEY, Z, ROW, 10),
        TypeError,
        (
            "`p` must be of the Concrete family, got ndarray; "
            "make one, for example `ExpConcrete(logits, temperature)`."
        ),
    ),
    "divergence of two classes": (
        lambda: kl_divergence(KEY, ROW, Concrete(Z, 1.0), 10),
        TypeError,
        (
            "`q` must be of the same class as `p`, ExpConcrete, got Concrete; "
            "compare two of one class."
        ),
    ),
    "divergence over other classes": (
        lambda: kl_divergence(KEY, ROW, ExpConcrete(Z[:, :1], 1.0), 10),
        ValueError,
        (
            "`q` must have logits that broadcast with those of `p`, of shape (2, 3), "
            "and as many classes, got shape (2, 1); "
            "compare distributions over the same classes."
        ),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_its_own_message(case):
    call, error, message = BAD[case]
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
