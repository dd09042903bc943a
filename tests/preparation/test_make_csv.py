"""Lists by ``slowfast prepare make-csv``: as they were read, and nothing for refused ones."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from slowfast.cli.prepare import main
from slowfast.datasets.readers.path_label import read_csv
from tests.support.preparation.command import prepare
from tests.support.reading.data_sets import lay_out
from tests.support.videos import write_video


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths of the lists refer to the folder of the test."""
    monkeypatch.chdir(tmp_path)


def make_csv(folder: Path, *options: str, status: int = 0, classes: int = 3) -> str:
    """Makes a list of the official annotations in a folder; returns its content."""
    out = folder / "out.csv"
    official = ("--dataset", "kinetics", "--num-classes", str(classes), "--relative-to", str(folder))
    assert main(["make-csv", str(folder), "--output", str(out), *official, *options]) == status
    return out.read_text() if status == 0 else ""


@pytest.mark.parametrize(
    ("options", "name", "status", "message"),
    [
        ((), "x\ny.mp4", 1, "cannot be a line of a list separated by ' '; rename the file"),
        (("--separator", "ab"), "x.mp4", 2, "--separator 'ab': must be one ASCII character"),
        (("--existing-only",), "missing.mp4", 1, "--existing-only: none of the 1 video"),
    ],
)
def test_a_refused_list_leaves_neither_rows_nor_class_names(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    name: str,
    status: int,
    message: str,
) -> None:
    (tmp_path / "v/bow").mkdir(parents=True)
    target = tmp_path / "v/bow" / name
    target.symlink_to("nowhere") if name == "missing.mp4" else target.touch()
    arguments = ["make-csv", str(tmp_path / "v"), "--output", str(tmp_path / "q/all.csv")]
    assert main([*arguments, *options]) == status
    assert message in capsys.readouterr().err
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
    assert list(found.groups) == groups
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


def test_make_csv_from_a_folder_of_classes(tmp_path: Path) -> None:
    names = ("wave/b.mp4", "wave/deep/a.mp4", "bow/c.avi", "bow/notes.txt", ".ipynb_checkpoints/a.mp4")
    lay_out(tmp_path / "videos", dict.fromkeys(names, ""))
    prepare("make-csv", tmp_path / "videos", "--output", tmp_path / "all.csv", "--relative-to", tmp_path)
    expected = ["videos/bow/c.avi 0", "videos/wave/b.mp4 1", "videos/wave/deep/a.mp4 1"]
    assert (tmp_path / "all.csv").read_text().splitlines() == expected
    assert json.loads((tmp_path / "classes.json").read_text()) == {"bow": 0, "wave": 1}
    assert json.loads((tmp_path / "report.json").read_text())["others"] == ["bow/notes.txt"]


ODD_NAMES = [
    '"x".mp4',
    " y.mp4",
    "z.mp4 ",
    "# z.mp4",
    "'q'.mp4",
    "a, b.mp4",
    "c,.mp4",
    "d;.mp4,",
    "\u00a0e.mp4",
]


@pytest.mark.parametrize("separator", [" ", ",", ";", "\\t", "|"])
def test_make_csv_writes_lines_that_read_as_the_same_paths(tmp_path: Path, separator: str) -> None:
    for name in ODD_NAMES:
        (tmp_path / "bow").mkdir(exist_ok=True)
        write_video(tmp_path / "bow" / name, 2, container_format="mp4")
    options = ("--output", tmp_path / "all.csv", "--relative-to", tmp_path / "bow", "--separator", separator)
    prepare("make-csv", tmp_path, *options)
    found = read_csv(str(tmp_path / "all.csv"), num_classes=1, separator=separator)
    assert list(found.paths) == sorted(ODD_NAMES)
    prepare("split", tmp_path / "all.csv", tmp_path / "out", "--shares", "a=1", "--separator", separator)
    copy = read_csv(str(tmp_path / "out/a.csv"), num_classes=1, separator=separator)
    assert list(copy.paths) == sorted(ODD_NAMES)


def test_make_csv_refuses_a_class_without_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay_out(tmp_path, {"bow/a.mp4": "", "wave/a.mp4.part": ""})
    assert main(["make-csv", str(tmp_path), "--output", str(tmp_path / "all.csv")]) == 1
    assert "wave: this class folder must contain a video, but has only 1 file" in capsys.readouterr().err
    assert not (tmp_path / "classes.json").exists()


def test_make_csv_of_a_second_split_keeps_the_indices_of_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("train/a/1.mp4", "train/b/2.mp4", "train/c/3.mp4", "val/a/4.mp4", "val/c/5.mp4")
    lay_out(tmp_path, dict.fromkeys(names, ""))
    classes = {}
    for split in ("train", "val"):
        options = ("--output", tmp_path / f"{split}.csv", "--relative-to", tmp_path)
        prepare("make-csv", tmp_path / split, *options)
        classes[split] = json.loads((tmp_path / "classes.json").read_text())
    assert (tmp_path / "val.csv").read_text() == "val/a/4.mp4 0\nval/c/5.mp4 2\n"
    assert classes["train"] == classes["val"] == {"a": 0, "b": 1, "c": 2}
    (tmp_path / "val/d").mkdir()
    assert main(["make-csv", str(tmp_path / "val"), "--output", str(tmp_path / "new.csv")]) == 1
    assert "val: class 'd' is not in" in (error := capsys.readouterr().err)
    assert "write --output into another folder, or delete classes.json to assign new indices" in error
    (tmp_path / "classes.json").write_text('{"a": 0, "c": "2", "d": 3}')
    assert main(["make-csv", str(tmp_path / "val"), "--output", str(tmp_path / "new.csv")]) == 1
    assert "classes.json: 'c' = '2' is not a valid class index" in capsys.readouterr().err
    assert not (tmp_path / "new.csv").exists()


def test_make_csv_mentions_the_file_of_the_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(tmp_path, {"videos/wave/a.mp4": ""})
    arguments = ["make-csv", str(tmp_path / "videos"), "--output", str(tmp_path / "all.csv")]
    lines = [f"{tmp_path}/all.csv: 1 video", f"{tmp_path}/classes.json: 1 class"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == lines
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[1] == f"{lines[1]}, with the indices of an earlier list"


@pytest.mark.parametrize(
    ("dataset", "files", "message"),
    [
        ("kinetics", {}, "train.csv: cannot be read"),
        ("kinetics", {"train.csv": "a.mp4 3\n"}, "set --num-classes higher"),
        ("kinetics", {"train.csv": "a.mp4 0,1\n"}, "set --multi-label"),
        ("kinetics", {"train.csv": "a.mp4,0\n"}, "--separator"),
        ("kinetics", {"train.csv": "label,youtube_id,time_start,time_end\na,b,0,1\n"}, "--num-classes is 3"),
        ("hmdb51", {}, "check the folder and --fold"),
    ],
)
def test_errors_of_make_csv_name_its_options(
    dataset: str, files: dict[str, str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no configuration whose keys could be changed."""
    make_csv(lay_out(tmp_path, files), "--dataset", dataset, status=1)
    error = capsys.readouterr().err
    assert message in error
    assert not re.search(r"[A-Z]\.[A-Z]", error), error


def test_make_csv_keeps_all_digits_of_segments(tmp_path: Path) -> None:
    text = "path label start end\na.mp4 1 36000.04 36000.08\n"
    (tmp_path / "train.csv").write_text(text)
    assert make_csv(tmp_path) == text


def test_make_csv_from_official_annotations(tmp_path: Path) -> None:
    texts = {"classInd.txt": "1 Bow\n2 Wave\n", "testlist02.txt": "Wave/a.avi\nBow/gone.avi\n"}
    lay_out(tmp_path, texts | {"Wave/a.avi": ""})
    options = [
        "--dataset",
        "ucf101",
        "--split",
        "test",
        "--fold",
        "2",
        "--num-classes",
        "2",
        "--existing-only",
        "--separator",
        ",",
    ]
    report = prepare("make-csv", tmp_path, "--output", tmp_path / "test.csv", *options)
    assert (tmp_path / "test.csv").read_text() == f"{tmp_path}/Wave/a.avi,1\n"
    assert report["missing"] == 1
    assert json.loads((tmp_path / "classes.json").read_text()) == {"Bow": 0, "Wave": 1}


def test_make_csv_of_official_annotations_keeps_the_indices_of_an_earlier_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {"classInd.txt": "1 Bow\n2 Wave\n", "trainlist01.txt": "Wave/a.avi 2\n", "Wave/a.avi": ""}
    lay_out(tmp_path, texts | {"lists/classes.json": '{"Wave": 0, "Bow": 1}'})
    options = ("--dataset", "ucf101", "--num-classes", "2", "--output", str(tmp_path / "lists/train.csv"))
    assert main(["make-csv", str(tmp_path), *options]) == 1
    assert "lists/classes.json: gives the classes other names or indices" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "lists").iterdir()] == ["classes.json"]
