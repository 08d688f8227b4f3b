"""Where pictures go, and that nothing is overwritten."""

import pytest
from matplotlib.figure import Figure

from jaxtemp.cli import main
from jaxtemp.cli.errors import CommandError
from jaxtemp.cli.output import RELIABILITY, SWEEP, make_folder, save


def test_without_a_name_it_is_the_first_new_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [make_folder(None).name for _ in range(3)]
    assert names == ["jaxtemp-out", "jaxtemp-out-2", "jaxtemp-out-3"]
    (tmp_path / "jaxtemp-out-4").write_text("a file of the user's")
    assert make_folder(None) == tmp_path / "jaxtemp-out-5"


def test_a_named_folder_is_made_with_its_parents_or_used(tmp_path):
    folder = tmp_path / "a" / "b"
    assert make_folder(folder) == folder
    (folder / "notes.txt").write_text("something else")
    assert make_folder(folder) == folder


@pytest.mark.parametrize("name", [SWEEP, RELIABILITY])
def test_a_picture_that_exists_is_an_error_before_any_work(tmp_path, name, capsys):
    (tmp_path / name).write_text("precious")
    assert main(["--out", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"jaxtemp: {str(tmp_path / name)!r} exists and is never overwritten; "
        "move it or choose another folder with --out\n"
    )
    assert (tmp_path / name).read_text() == "precious"


@pytest.mark.parametrize("below", ["", "sub"])
def test_a_file_is_no_folder(tmp_path, below):
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(CommandError) as caught:
        make_folder(file / below)
    assert str(caught.value) == (
        f"--out must name a folder, got the path {str(file / below)!r} of a file; "
        "choose another"
    )
    assert file.read_text() == "precious"


def test_a_folder_that_cannot_be_made(tmp_path):
    with pytest.raises(CommandError, match="File name too long") as caught:
        make_folder(tmp_path / ("x" * 300))
    assert str(caught.value).startswith("cannot make the folder ")


def test_saving_never_overwrites(tmp_path):
    path = tmp_path / "picture.png"
    figure = Figure(figsize=(1, 1))
    assert save(figure, path) == path
    assert path.read_bytes().startswith(b"\x89PNG\r\n")
    path.write_text("precious")
    with pytest.raises(CommandError) as caught:
        save(figure, path)
    assert str(caught.value) == (
        f"cannot write {str(path)!r} (File exists); choose another with --out"
    )
    assert path.read_text() == "precious"
