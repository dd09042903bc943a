"""Lists by ``slowfast prepare make-csv`` from tables of other programs and data sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slowfast.cli.prepare import main
from tests.support.preparation.command import prepare

CHARADES = """\
id,subject,script,actions,length
AB12,HR43,"A person, ""cooking"".",c002 0.00 12.60;c000 11.90 21.20,30.2
CD34,HR43,none,,20.1
EF56,KK11,none,c001 1.00 2.00;c001 5.00 6.00,20.1
"""


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths of the lists refer to the folder of the test."""
    monkeypatch.chdir(tmp_path)


def make(text: str, *options: str, videos: str = "", name: str = "table.csv", out: str = "train.csv") -> str:
    """Makes a list of a table whose videos exist; returns its content."""
    for video in videos.split():
        Path(video).parent.mkdir(parents=True, exist_ok=True)
        Path(video).touch()
    Path(name).write_text(text)
    prepare("make-csv", Path(name), "--output", Path("lists", out), *options)
    return Path("lists", out).read_text()


def refuse(capsys: pytest.CaptureFixture[str], text: str, *options: str, status: int = 1) -> str:
    """Returns the error of a table that is refused; nothing is written then."""
    Path("table.csv").write_text(text)
    assert main(["make-csv", "table.csv", "--output", "lists/train.csv", *options]) == status
    assert not Path("lists").exists()
    return capsys.readouterr().err


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_class_names_become_indices(separator: str) -> None:
    text = "Clip_Path,unused,Label\nb.mp4,x,wave\na c.mp4,y,bow\n".replace(",", separator)
    assert make(text, videos="b.mp4") == "b.mp4 1\na c.mp4 0\n"
    assert json.loads(Path("lists/classes.json").read_text()) == {"bow": 0, "wave": 1}
    assert make("path,label\nb.mp4,wave\n", out="val.csv") == "b.mp4 1\n", "as in the earlier list"


def test_paths_are_made_of_columns() -> None:
    options = ("--path", "{split}/{id}.mp4", "--label", "action", "--videos", "clips")
    text = "id,split,action,label\n7,val,jump,ignored\n"
    assert make(text, *options, videos="clips/val/7.mp4") == "clips/val/7.mp4 0\n"


def test_objects_of_a_json_list_are_rows() -> None:
    text = json.dumps([{"vid_name": "a", "label": 12, "end_frame": 99}, {"vid_name": "b", "label": 3}])
    options = ("--path", "{vid_name}.mp4")
    assert make(text, *options, videos="a.mp4", name="t.json") == "a.mp4 12\nb.mp4 3\n"
    assert not Path("lists/classes.json").exists(), "the labels are indices already"


def test_lists_in_a_json_list_are_rows(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = json.dumps([{"path": "a", "label": 0}, {"path": "b", "label": None}])
    assert make(numbers, videos="a b", name="t.json") == "a 0\n", "0 is a label, null is not"
    assert "1 file such as 'b'" in capsys.readouterr().out
    names = json.dumps([{"path": "a", "label": ["run, fast", "bow"]}, {"path": "b", "label": ["bow"]}])
    assert make(names, "--multi-label", name="t.json") == "a 1,0\nb 0\n"
    assert json.loads(Path("lists/classes.json").read_text()) == {"bow": 0, "run, fast": 1}


def test_names_of_classes_may_be_numbers_in_part() -> None:
    """As those of an alphabet of signs."""
    assert make("path,label\na,7\nb,A\n", videos="a b") == "a 0\nb 1\n"


@pytest.mark.parametrize("label", ["-1", "3.0"])
def test_numbers_that_are_not_indices_are_not_taken_for_names(
    label: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a").touch()
    message = refuse(capsys, f"path,label\na,{label}\nb,0\n")
    assert f"table.csv: '{label}' is not a valid class index; write whole numbers from 0 on" in message


def test_all_cells_may_be_quoted() -> None:
    assert make('"path","label"\n"a,b","wave"\n', videos="a,b") == "a,b 0\n"


def test_cells_between_tabs_may_be_empty(capsys: pytest.CaptureFixture[str]) -> None:
    """As spreadsheets write them: without quotes, also at the ends of a line."""
    assert make("path\tlabel\tnote\na\tx\t\nb\t\t\n\t\tc\n", videos="a") == "a 0\n"
    assert "left out" in capsys.readouterr().out


def test_a_pattern_finds_the_one_label_of_a_cell() -> None:
    assert make("path,label\na,c7 of 12\n", "--label-pattern", r"(?<=c)\d+", videos="a") == "a 7\n"


def test_several_labels_of_charades_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--path", "{id}.mp4", "--label", "actions", "--multi-label", "--label-pattern", r"c\d+")
    assert make(CHARADES, *options, videos="AB12.mp4") == "AB12.mp4 2,0\nEF56.mp4 1\n"
    assert (
        "left out, because they are not videos of a class: 1 file such as 'CD34.mp4'"
        in capsys.readouterr().out
    )


def test_rows_of_one_video_are_joined(capsys: pytest.CaptureFixture[str]) -> None:
    text = "path,label\na.mp4,walk; run\na.mp4,wave\n"
    assert make(text, "--multi-label", videos="a.mp4") == "a.mp4 1,0,2\n"
    Path("lists/classes.json").unlink()
    Path("lists/train.csv").unlink()
    Path("lists").rmdir()
    assert "a.mp4 has a second label, 'wave'; use --multi-label" in refuse(capsys, text)


@pytest.mark.parametrize(
    ("text", "options", "status", "message"),
    [
        ("id,label\n7,x\n", (), 2, "--path: must be given, since table.csv has the columns id, label"),
        ("path,tag\na,x\n", (), 2, "--label: must be given, since table.csv has the columns path, tag"),
        ("a.mp4 0\nb.mp4 1\n", (), 2, "the first line names the columns"),
        ("id,label\n7,x\n", ("--path", "{idd}.mp4"), 2, "do not fit table.csv, line 2 ('idd')"),
        ("id,label\n7,x\n", ("--path", "{id", "--label", "label"), 2, "do not fit table.csv, line 2"),
        ("id,label\n7,x\n", ("--path", "{id}", "--label", "tag"), 2, "which has the columns id, label"),
        (
            "path,label\na.mp4,x,y\n",
            (),
            1,
            "line 2: has 3 columns, and line 1 has 2; write quotes around cells with ','",
        ),
        ("path,label\na.mp4,x\n", (), 1, "none of its videos exists, such as 'a.mp4'; change --path"),
        ("path,label\na,x\n", ("--label-pattern", "("), 2, "--label-pattern '(': must be a regular"),
        ("id,label\n7,x\n", ("--path", "{id[x]}"), 2, "do not fit table.csv, line 2"),
        ("", (), 1, "table.csv: has no row with a label; add rows below the names of the columns"),
        ("path,label\na.mp4,\n", (), 1, "table.csv: has no row with a label"),
        ("\n\npath,label\na.mp4,x,y\n", (), 1, "table.csv, line 4: has 3 columns, and line 3 has 2"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(
    capsys: pytest.CaptureFixture[str], text: str, options: tuple[str, ...], status: int, message: str
) -> None:
    assert message in refuse(capsys, text, *options, status=status)
