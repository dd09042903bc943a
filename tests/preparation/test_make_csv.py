"""Lists by ``slowfast prepare make-csv``: as they were read, and nothing for refused ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from slowfast.cli.prepare import main
from slowfast.datasets.readers.path_label import read_csv


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths of the lists refer to the folder of the test."""
    monkeypatch.chdir(tmp_path)


def make_csv(folder: Path, *options: str, status: int = 0, classes: int = 3) -> str:
    """Makes a list of the official annotations in a folder; returns its content."""
    out = folder / "out.csv"
    official = ("--dataset", "kinetics", "--num-classes", str(classes), "--relative-to", str(folder))
    assert main(["make-csv", str(folder), "--out", str(out), *official, *options]) == status
    return out.read_text() if status == 0 else ""


@pytest.mark.parametrize(
    ("options", "name"),
    [((), "x\ny.mp4"), (("--separator", "ab"), "x.mp4"), (("--existing-only",), "x.mp4")],
)
def test_a_refused_list_leaves_no_class_names(tmp_path: Path, options: tuple[str, ...], name: str) -> None:
    (tmp_path / "v/bow").mkdir(parents=True)
    target = tmp_path / "v/bow" / name
    target.symlink_to("missing") if "--existing-only" in options else target.touch()
    arguments = ["make-csv", str(tmp_path / "v"), "--out", str(tmp_path / "q/all.csv")]
    assert main([*arguments, *options]) == (2 if "--separator" in options else 1)
    assert not list(tmp_path.glob("q/*"))


def test_no_existing_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.csv").write_text("a.mp4 0\nb.mp4 1\n")
    make_csv(tmp_path, "--existing-only", status=1)
    error = capsys.readouterr().err
    assert "--existing-only: none of the 2 videos exists, such as" in error
    assert "name the folder of the videos by --videos" in error
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("separator", [" ", ",", ";", "|", "\\t"])
@pytest.mark.parametrize("segments", [False, True])
def test_the_groups_of_official_lists_are_kept(tmp_path: Path, separator: str, segments: bool) -> None:
    groups = ["p1", "p 2", "p,3", 'p"4', "5"]
    times = " start end" if segments else ""
    row = " 0.0 0.5" if segments else ""
    lines = [
        f'{i}.mp4 {i % 2}{row} "{group.replace(chr(34), chr(34) * 2)}"' for i, group in enumerate(groups)
    ]
    (tmp_path / "train.csv").write_text(f"path label{times} group\n" + "\n".join(lines) + "\n")
    make_csv(tmp_path, "--separator", separator)
    found = read_csv(str(tmp_path / "out.csv"), num_classes=2, separator=separator)
    assert list(found.paths) == [f"{i}.mp4" for i in range(5)]
    assert found.groups is not None
    assert found.groups.read() == groups
    assert (found.segments is not None) == segments


def test_groups_stay_beside_their_videos(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("path label group\na.mp4 0 p1\nb.mp4 1 p2\n")
    (tmp_path / "b.mp4").touch()
    assert make_csv(tmp_path, "--existing-only") == "path label group\nb.mp4 1 p2\n"


@pytest.mark.parametrize("separator", [",", ";", "\\t"])
def test_lists_are_read_with_their_separator(tmp_path: Path, separator: str) -> None:
    written = {"\\t": "\t"}.get(separator, separator)
    text = f"a b.mp4{written}0\nc.mp4{written}1\n"
    (tmp_path / "train.csv").write_text(text)
    assert make_csv(tmp_path, "--separator", separator) == text
    (tmp_path / "train.csv").write_text("a.mp4 0\nc.mp4 1\n")  # still rewritten with the separator
    assert make_csv(tmp_path, "--separator", separator) == f"a.mp4{written}0\nc.mp4{written}1\n"
    (tmp_path / "train.csv").write_text("a.mp4|0\n")
    make_csv(tmp_path, "--separator", separator, status=1)
