"""Presets against the systems that they are named after, rewritten in NumPy."""

import functools
import itertools

import jax
import numpy as np
import pytest

from jaxtemp.sampling import presets
from tests.sampling import systems

ROWS, CLASSES = 1000, 24

PRESETS = {
    "huggingface": presets.huggingface,
    "vllm": presets.vllm,
    "llama_cpp": presets.llama_cpp,
    "sglang": presets.sglang,
}


def in_order(table, numbers):
    """A pipeline of the table's rules, in its order, for one row."""

    def pipeline(z):
        for name, rule in table.items():
            if name in numbers:
                z = rule(z, numbers[name])
        return z

    return pipeline


HUGGINGFACE = {
    "only the nucleus": {"top_p": 0.8},
    "temperature, top-k and top-p": {"temperature": 0.7, "top_k": 8, "top_p": 0.9},
    "top-k beyond the vocabulary": {"temperature": 1.5, "top_k": 50, "min_p": 0.1},
    "typical": {"typical_p": 0.6},
    "typical of a nucleus": {"temperature": 0.5, "top_p": 0.95, "typical_p": 0.3},
    "cutoffs": {"epsilon_cutoff": 0.03, "eta_cutoff": 0.1},
    "top-h": {"temperature": 1.3, "top_h": 0.6, "top_k": 12},
    "all of it": {
        **{"temperature": 1.2, "top_h": 0.95, "top_k": 15, "top_p": 0.95},
        **{"min_p": 0.02, "typical_p": 0.9, "epsilon_cutoff": 0.01},
    },
}
VLLM = {
    "the nucleus": {"top_p": 0.7},
    "min-p before top-k": {"temperature": 1.4, "min_p": 0.2, "top_k": 5},
    "all of it": {"temperature": 0.8, "min_p": 0.05, "top_k": 6, "top_p": 0.85},
    "greedy": {"temperature": 0.0, "top_k": 4, "top_p": 0.5},
    "greedy below the limit": {"temperature": 9e-6, "min_p": 0.2},
}
LLAMA_CPP = {
    "its defaults": {"top_k": 40, "top_p": 0.95, "min_p": 0.05, "temp": 0.8},
    "sigma": {"top_n_sigma": 1.2, "top_k": 10, "top_p": 0.9, "min_p": 0.0, "temp": 2.0},
    "typical": {"top_k": 0, "typ_p": 0.5, "top_p": 1.0, "min_p": 0.0, "temp": 1.0},
    "all of it": {
        **{"top_n_sigma": 2.0, "top_k": 12, "typ_p": 0.9, "top_p": 0.9},
        **{"min_p": 0.1, "temp": 0.5},
    },
    "greedy after the filters": {
        **{"top_k": -1, "typ_p": 0.3, "top_p": 1.0, "min_p": 0.0, "temp": -1.0}
    },
}
SGLANG = {
    "jointly": {"top_k": 6, "top_p": 0.8},
    "after a temperature": {"temperature": 0.6, "top_k": 9, "top_p": 0.9},
    "top-p alone": {"top_p": 0.6},
    "top-k alone": {"temperature": 1.7, "top_k": 3},
    "with min-p": {"temperature": 1.3, "top_k": 8, "top_p": 0.85, "min_p": 0.1},
    "greedy": {"temperature": 1e-7, "top_k": 8, "top_p": 0.85},
}
CASES = {
    **{f"huggingface: {n}": (presets.huggingface, c) for n, c in HUGGINGFACE.items()},
    **{f"vllm: {n}": (presets.vllm, c) for n, c in VLLM.items()},
    **{f"llama_cpp: {n}": (presets.llama_cpp, c) for n, c in LLAMA_CPP.items()},
    **{f"sglang: {n}": (presets.sglang, c) for n, c in SGLANG.items()},
    **{
        f"sglang on pytorch: {n}": (
            functools.partial(presets.sglang, sampling_backend="pytorch"),
            c,
        )
        for n, c in SGLANG.items()
    },
}


def pipeline(case: str, numbers):
    """The system that a case is of, rewritten."""
    system = case.split(":")[0]
    if system == "sglang":
        return lambda z: systems.sglang_flashinfer(z, **numbers)
    if system == "sglang on pytorch":
        return lambda z: systems.sglang_pytorch(z, **numbers)
    table = {
        "huggingface": systems.HUGGINGFACE,
        "vllm": systems.VLLM,
        "llama_cpp": systems.LLAMA_CPP,
    }[system]
    return in_order(table, numbers)


def rows(seed: int) -> np.ndarray:
    """Rows of float32: smooth ones, ones with many ties, some with excluded classes."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(ROWS, CLASSES)) * rng.choice([0.5, 2.0, 5.0], (ROWS, 1))
    tied = rng.random((ROWS, 1)) < 0.5
    z = np.where(tied, np.round(z), z)
    excluded = (rng.random((ROWS, CLASSES)) < 0.2) & (rng.random((ROWS, 1)) < 0.5)
    excluded[:, 0] = False
    return np.where(excluded, -np.inf, z).astype(np.float32)


def one_row(logits) -> np.ndarray:
    """A row in the shape of all others, for which everything is compiled already."""
    padded = np.full((ROWS, CLASSES), -np.inf, np.float32)
    padded[:, : len(logits)] = logits
    return padded


def shifted(numbers, factor: float):
    """The same numbers but for thresholds, which are moved by a factor."""
    return {
        name: value * factor
        if isinstance(value, float) and name not in ("temperature", "temp")
        else value
        for name, value in numbers.items()
    }


def probabilities(z: np.ndarray) -> np.ndarray:
    z = z.astype(np.float64)
    weight = np.exp(z - z.max(axis=-1, keepdims=True))
    return weight / weight.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("case", CASES)
def test_a_preset_keeps_what_its_system_keeps(case):
    preset, numbers = CASES[case]
    logits = rows(seed=len(case))
    off = {"top_k": 0} if case.startswith("huggingface") else {}
    got = np.asarray(preset(**{**off, **numbers}).apply(logits))
    true = [
        np.stack(
            [pipeline(case, shifted(numbers, by))(z) for z in logits.astype(float)]
        )
        for by in (1.0, 1 - 1e-5, 1 + 1e-5)
    ]
    kept = [z > -np.inf for z in true]
    # Where a sum comes that near to a threshold, rounding may decide.
    sure = np.all((kept[0] == kept[1]) & (kept[0] == kept[2]), axis=-1)
    assert sure.mean() > 0.98
    np.testing.assert_array_equal(got[sure] > -np.inf, kept[0][sure])
    np.testing.assert_allclose(
        probabilities(got[sure]), probabilities(true[0][sure]), atol=2e-6
    )


# What each system keeps of eight equal tokens with p = 0.5, whose sums are exact.
EQUAL = [
    (lambda: presets.huggingface(top_k=0, top_p=0.5), 4),
    (lambda: presets.huggingface(top_k=3), 8),
    (lambda: presets.huggingface(top_k=0, min_p=1.0), 8),
    (lambda: presets.huggingface(top_k=0, typical_p=0.5), 8),
    (lambda: presets.vllm(top_p=0.5), 4),
    (lambda: presets.vllm(top_k=3), 8),
    (lambda: presets.vllm(temperature=0.0), 1),
    (lambda: presets.llama_cpp(top_p=0.5, min_p=1.0), 4),
    (lambda: presets.llama_cpp(top_k=3, top_p=1.0), 3),
    (lambda: presets.llama_cpp(typ_p=0.5, top_p=1.0), 5),
    (lambda: presets.llama_cpp(temp=0.0), 1),
    (lambda: presets.llama_cpp(top_p=0.0), 1),
    (lambda: presets.llama_cpp(top_p=0.0, min_keep=3), 3),
    (lambda: presets.sglang(top_p=0.5), 8),
    (lambda: presets.sglang(top_k=3), 8),
    (lambda: presets.sglang(top_k=3, top_p=0.5), 8),
    (lambda: presets.sglang(top_k=3, sampling_backend="pytorch"), 3),
    (lambda: presets.sglang(top_p=0.5, sampling_backend="pytorch"), 5),
    (lambda: presets.sglang(temperature=0.0), 1),
]


@pytest.mark.parametrize(("make", "count"), EQUAL)
def test_equal_tokens_at_a_boundary_are_kept_as_the_system_does(make, count):
    kept = np.asarray(make().apply(one_row(np.zeros(8)))) > -np.inf
    np.testing.assert_array_equal(kept[0], np.arange(CLASSES) < count)


def test_joint_top_p_sees_what_top_k_removed():
    logits = one_row(np.log([0.4, 0.3, 0.2, 0.1]))
    joint = presets.sglang(top_k=2, top_p=0.45).apply(logits)
    first = presets.vllm(top_k=2, top_p=0.45).apply(logits)
    assert np.sum(np.asarray(joint)[0] > -np.inf) == 2
    assert np.sum(np.asarray(first)[0] > -np.inf) == 1


NAMES = {"k": "top_k", "p": "top_p", "m": "min_p"}
QUEUES = [
    "".join(order)
    for size in (1, 2, 3)
    for order in itertools.permutations("kpm", size)
]
SETTINGS = [(100, 0.8, 0.1), (100, 0.3, 0.9), (5000, 0.8, 0.3), (9000, 0.12, 0.97)]


@pytest.mark.parametrize("numbers", SETTINGS, ids=str)
@pytest.mark.parametrize("queue", QUEUES)
def test_a_queue_of_llama_cpp_keeps_the_last_ids_of_a_ramp(queue, numbers):
    size = 10_000
    k, p, m = numbers
    ids = np.arange(size)
    count = size - 1  # the logit of 0 is log 0
    for letter in queue:
        low = size - count
        sums = np.cumsum(ids[::-1][:count].astype(float))
        share = sums / sums[-1]
        if letter == "k":
            count = min(count, k)
        elif letter == "p":
            count = int(np.sum(share < p)) + 1
            assert np.min(np.abs(share - p)) > 1e-6 or p == 1
        else:
            count = size - max(low, int(np.ceil(m * (size - 1))))
    chain = presets.llama_cpp(
        samplers=[NAMES[letter] for letter in queue], top_k=k, top_p=p, min_p=m
    )
    with np.errstate(divide="ignore"):
        logits = np.log(ids.astype(np.float32))
    kept = np.asarray(chain.apply(logits)) > -np.inf
    np.testing.assert_array_equal(kept, ids >= size - count)


def histories(seed: int, count: int):
    """Tokens with padding anywhere, and how many positions are prompt."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 6, (count, 20)).astype(np.int32)
    tokens[rng.random(tokens.shape) < 0.2] = -1
    return tokens, rng.integers(0, 20, count).astype(np.int32)


def spoken(row):
    return [token for token in row.tolist() if token >= 0]


def hf_penalties(z, all_, output):
    z = systems.repetition(z, all_, 1.3)
    z = systems.no_repeat(z, all_, 2)
    z = systems.ban(z, systems.banned_by([[7], [1, 2], [3, 4, 5]], all_))
    z = systems.ban(z, [9] if len(all_) < 15 else [])
    z = systems.ban(z, [9] if len(output) < 8 else [])
    return systems.ban(z, [11, 12])


def vllm_penalties(z, all_, output):
    z = systems.keep(z, np.arange(z.size) != 8)
    z = systems.ban(z, systems.banned_by([[7], [1, 2]], output))
    z = systems.ban(z, [9, 10] if len(output) < 8 else [])
    z = z + 1.5 * (np.arange(z.size) == 3) - 2.0 * (np.arange(z.size) == 13)
    z = systems.repetition(z, all_, 1.3)
    return systems.count_penalties(z, output, frequency=0.2, presence=0.4)


def llama_penalties(z, all_, output):
    del output
    z = z + 1.5 * (np.arange(z.size) == 3)
    z = systems.repetition(z, all_[-9:], 1.3)
    z = systems.count_penalties(z, all_[-9:], frequency=0.2, presence=0.4)
    return systems.dry(z, all_, 0.8, 1.75, 2)


def sglang_penalties(z, all_, output):
    del all_
    z = systems.count_penalties(z, output, frequency=0.2, presence=0.4)
    z = systems.ban(z, [9, 10] if len(output) < 8 else [])
    z = systems.repetition(z, output, 1.3)
    return z + 1.5 * (np.arange(z.size) == 3)


OPENAI = {"frequency_penalty": 0.2, "presence_penalty": 0.4, "repetition_penalty": 1.3}
PENALTIES = {
    "huggingface": (
        hf_penalties,
        presets.huggingface(
            top_k=0,
            repetition_penalty=1.3,
            no_repeat_ngram_size=2,
            bad_words_ids=[[7], [1, 2], [3, 4, 5], [9]],
            min_length=15,
            min_new_tokens=8,
            eos_token_id=9,
            suppress_tokens=[11, 12],
        ),
    ),
    "vllm": (
        vllm_penalties,
        presets.vllm(
            **OPENAI,
            allowed_token_ids=[i for i in range(CLASSES) if i != 8],
            bad_words_token_ids=[[7], [1, 2]],
            min_tokens=8,
            stop_token_ids=[9, 10],
            logit_bias={3: 1.5, 13: -2.0},
        ),
    ),
    "llama_cpp": (
        llama_penalties,
        presets.llama_cpp(
            samplers=["penalties", "dry"],
            penalty_last_n=9,
            penalty_repeat=1.3,
            penalty_freq=0.2,
            penalty_present=0.4,
            dry_multiplier=0.8,
            logit_bias={3: 1.5},
        ),
    ),
    "sglang": (
        sglang_penalties,
        presets.sglang(
            **OPENAI, min_new_tokens=8, stop_token_ids=[9, 10], logit_bias={3: 1.5}
        ),
    ),
}


@pytest.mark.parametrize("system", PENALTIES)
def test_penalties_see_the_tokens_that_the_system_counts(system):
    truth, chain = PENALTIES[system]
    logits = rows(seed=7)
    tokens, prompt_length = histories(seed=8, count=ROWS)
    got = chain.apply(logits, tokens, prompt_length=prompt_length)
    true = [
        truth(z, spoken(all_), spoken(all_[start:]))
        for z, all_, start in zip(
            logits.astype(float), tokens, prompt_length, strict=True
        )
    ]
    np.testing.assert_allclose(np.asarray(got), np.stack(true), rtol=1e-5, atol=1e-5)


def test_a_dynamic_temperature_of_llama_cpp_follows_the_entropy():
    logits = rows(seed=3)
    chain = presets.llama_cpp(
        samplers=["temperature"], temp=0.8, dynatemp_range=1.0, dynatemp_exponent=1.7
    )
    got = probabilities(np.asarray(chain.apply(logits)))
    true = [systems.llama_temperature(z, 0.8, 1.0, 1.7) for z in logits.astype(float)]
    np.testing.assert_allclose(got, probabilities(np.stack(true)), atol=3e-6)


def test_mirostat_of_llama_cpp_follows_its_temperature():
    chain = presets.llama_cpp(mirostat=2, mirostat_tau=4.0, temp=0.7, top_k=1)
    assert repr(chain) == "chain(temperature(0.7), mirostat(4.0, 0.1))"


DEFAULTS = {
    "huggingface": "chain(top_k(50, ties='all'))",
    "vllm": "chain()",
    "llama_cpp": "chain(top_k(40), top_p(0.95), min_p(0.05), temperature(0.8))",
    "sglang": "chain()",
}


@pytest.mark.parametrize("system", DEFAULTS)
def test_defaults_are_those_of_the_system(system):
    assert repr(PRESETS[system]()) == DEFAULTS[system]


ALL_ON = {
    "huggingface": (
        {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.9},
        {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0},
    ),
    "vllm": (
        {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "min_p": 0.1},
        {"temperature": 0.0, "top_k": -1, "top_p": 1.0, "min_p": 0.0},
    ),
    "llama_cpp": (
        {"temp": 0.7, "top_k": 5, "top_p": 0.9, "typ_p": 0.9, "top_n_sigma": 1.0},
        {"temp": -1.0, "top_k": -1, "top_p": 1.0, "typ_p": 1.0, "top_n_sigma": -1.0},
    ),
    "sglang": (
        {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "min_p": 0.1},
        {"temperature": 0.0, "top_k": -1, "top_p": 1.0, "min_p": 0.0},
    ),
}


@pytest.mark.parametrize("system", ALL_ON)
def test_traced_numbers_act_as_concrete_ones_do(system):
    logits = rows(seed=5)
    traced = jax.jit(lambda numbers: PRESETS[system](**numbers).apply(logits))
    for numbers in ALL_ON[system]:
        want = probabilities(np.asarray(PRESETS[system](**numbers).apply(logits)))
        got = probabilities(np.asarray(traced(numbers)))
        np.testing.assert_allclose(got, want, atol=1e-6)
    assert traced._cache_size() == 1


def test_requests_may_differ_by_row():
    chain = presets.vllm(
        temperature=np.resize([0.0, 1.0, 1.0], ROWS),
        top_k=np.resize([-1, -1, 3], ROWS),
        top_p=np.resize([1.0, 0.5, 1.0], ROWS),
    )
    out = chain.apply(one_row(np.zeros(8)))
    kept = np.sum(np.asarray(out) > -np.inf, axis=-1)
    np.testing.assert_array_equal(kept, np.resize([1, 4, 8], ROWS))


WRONG = [
    (
        lambda: presets.huggingface(temperature=0.0),
        "`temperature` must be above 0, as in that system, got 0.0; "
        "pass a small number, or `top_k=1` for the most likely token.",
    ),
    (
        lambda: presets.vllm(top_p=0.0),
        "`top_p` must be above 0, as in that system, got 0.0; "
        "pass a small number, or `top_k=1` for the most likely token.",
    ),
    (
        lambda: presets.sglang(top_k=0),
        "`top_k` must be above 0, as in that system, got 0; "
        "pass a small number, or `top_k=1` for the most likely token.",
    ),
    (
        lambda: presets.vllm(temperature=-1.0),
        "`temperature` must be in [0, inf], got -1.0; "
        "pass 0 for the most likely class, inf for all alike.",
    ),
    (
        lambda: presets.huggingface(min_p=1.5),
        "`p` must be in [0, 1], got 1.5; "
        "pass a share of the largest probability, 0 to keep all tokens.",
    ),
    (
        lambda: presets.huggingface(min_length=3),
        "`eos_token_id` must be given with `min_length`, got None; "
        "pass the ids that end a text.",
    ),
    (
        lambda: presets.vllm(min_tokens=3),
        "`stop_token_ids` must be given with `min_tokens`, got None; "
        "pass the ids that end a text.",
    ),
    (
        lambda: presets.llama_cpp(samplers=["top_k", "infill"]),
        "`samplers` must be one of 'penalties', 'dry', 'top_n_sigma', 'top_k', "
        "'typ_p', 'top_p', 'min_p', 'xtc', 'temperature', got 'infill'; "
        "choose from these.",
    ),
    (
        lambda: presets.llama_cpp(mirostat=1),
        "`mirostat` must be one of 0, 2, got 1; choose from these.",
    ),
    (
        lambda: presets.sglang(sampling_backend="triton"),
        "`sampling_backend` must be one of 'flashinfer', 'pytorch', got 'triton'; "
        "choose from these.",
    ),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_wrong_numbers_say_so(make, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        make()
    assert str(error.value) == message
