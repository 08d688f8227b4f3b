import json

import pytest

from bench import results

HEAD = {
    "op": "softmax",
    "date": "2026-01-31T23:59:59Z",
    "device": {"platform": "cpu", "chip": "Some CPU (R) v4", "count": 1},
}


def case(mode, rows, ratios):
    """A case of ours and of contenders with these median ratios."""
    entries = [{"name": "jaxtemp", "role": "ours", "ratio": None, "met": True}]
    for name, median in ratios.items():
        role = "limit" if name == "limit" else "peer"
        ratio = None if median is None else {"q1": 0.0, "median": median, "q3": 9.0}
        met = None if median is None or role == "limit" else median >= 1
        entries.append({"name": name, "role": role, "ratio": ratio, "met": met})
    return {
        "mode": mode,
        "rows": rows,
        "classes": 2,
        "dtype": "float32",
        "temperature": "row",
        "contenders": entries,
    }


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_named_by_op_chip_and_day(tmp_path):
    result = results.start(HEAD, tmp_path / "made", overwrite=False)
    assert result.path == tmp_path / "made" / "softmax-some-cpu-r-v4-2026-01-31.json"
    assert read(result.path) == result.document
    assert result.document["schema"] == 3


def test_complete_only_at_the_end(tmp_path):
    result = results.start(HEAD, tmp_path, overwrite=False)
    assert read(result.path)["complete"] is False
    result.add(case("forward", 3, {"jax.nn": 1.5}))
    assert read(result.path)["complete"] is False
    assert len(read(result.path)["cases"]) == 1
    result.finish()
    assert read(result.path)["complete"] is True
    assert [file.name for file in tmp_path.iterdir()] == [result.path.name]


def test_nothing_is_overwritten_unless_asked(tmp_path):
    first = results.start(HEAD, tmp_path, overwrite=False)
    before = first.path.read_bytes()
    second = results.start(HEAD | {"seed": 2}, tmp_path, overwrite=False)
    third = results.start(HEAD | {"seed": 3}, tmp_path, overwrite=False)
    assert second.path.stem == first.path.stem + "-2"
    assert third.path.stem == first.path.stem + "-3"
    assert first.path.read_bytes() == before
    again = results.start(HEAD | {"seed": 4}, tmp_path, overwrite=True)
    assert again.path == first.path
    assert read(first.path)["seed"] == 4
    assert read(second.path)["seed"] == 2


def test_a_failed_write_leaves_the_old_file(tmp_path):
    result = results.start(HEAD, tmp_path, overwrite=False)
    before = result.path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        results.write(result.path, {"seconds": float("nan")})
    assert result.path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_without_a_folder_nothing_is_written():
    result = results.start(HEAD, None, overwrite=False)
    result.add(case("forward", 3, {"jax.nn": 1.5}))
    assert result.path is None
    assert len(result.document["summary"]) == 1


def test_summary_by_hand():
    found = results.summary(
        [
            case("forward", 1, {"jax.nn": 1.2, "torch": None, "limit": 0.5}),
            case("forward", 2, {"jax.nn": 0.9, "torch": 3.0, "limit": 0.7}),
            case("forward", 3, {"jax.nn": 2.0, "torch": None, "limit": 0.6}),
            case("value_and_grad", 4, {"jax.nn": 1.1, "torch": None, "limit": 0.4}),
        ]
    )
    told = {(e["mode"], e["name"]): e for e in found}
    assert set(told) == {
        ("forward", "jax.nn"),
        ("forward", "torch"),
        ("forward", "limit"),
        ("value_and_grad", "jax.nn"),
        ("value_and_grad", "limit"),
    }
    forward = told["forward", "jax.nn"]
    assert (forward["cases"], forward["median"], forward["worst"]) == (3, 1.2, 0.9)
    assert forward["worst_case"] == "forward 2x2 float32 row τ"
    assert (forward["promised"], forward["met"]) == (3, 2)
    assert told["forward", "torch"]["cases"] == 1
    assert told["forward", "limit"]["role"] == "limit"
    assert told["forward", "limit"]["promised"] == 0
