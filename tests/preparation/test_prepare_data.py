"""All sub-commands of data preparation, run through the command line on tiny real videos."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from slowfast.cli.prepare import COMMANDS, main
from slowfast.datasets.readers.path_label import read_csv
from slowfast.preparation.split import divide
from slowfast.video.decoding import decode
from slowfast.video.pyav_video import PyAVVideo
from tests.support.videos import read_stamps, write_csv, write_video

ROOT = Path(__file__).parents[2]


def prepare(*arguments: str | Path) -> dict[str, Any]:
    """Runs a sub-command and returns its report."""
    report = Path(arguments[1]).parent / "report.json"
    assert main([*map(str, arguments), "--report", str(report)]) == 0
    return json.loads(report.read_text())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_that_parse(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    assert f"slowfast prepare {command} " in capsys.readouterr().out


def test_help_does_not_import_torch() -> None:
    code = "import sys, runpy; sys.argv = ['prepare_data.py', 'scan', '--help']\n"
    code += "try: runpy.run_path('tools/prepare_data.py', run_name='__main__')\n"
    code += "except SystemExit: pass\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scan", "none.csv"], "none.csv: cannot be read (No such file or directory)"),
        (["scan", "bad.csv"], "bad.csv, line 2: 'pathonly' is not a path and a label; --separator is ' '"),
        (["scan", "empty"], "empty: contains no video file"),
        (["resize", "data", "data"], "would replace the videos; choose another folder"),
        (["resize", "data", "data/small"], "data/small: is inside data, so that the next call would resize"),
        (["scan", "data/a.mp4"], "data/a.mp4: is a video; give a list of videos, or the folder data for all"),
        (["resize", "data", "link"], "link: is inside data, so that the next call would resize"),
        (
            ["split", "./good.csv", "", "--shares", "good=0.8", "val=0.2"],
            "good.csv: is the list itself and would be overwritten; choose another folder",
        ),
        (
            ["split", "good.csv", "out", "--shares", "a=1", "--group-by", "("],
            "must be a regular expression",
        ),
        (["split", "good.csv", "out", "--shares", "a=1", "--group-by", "z"], "does not match a.mp4"),
        (["split", "data", "out", "--shares", "a=1"], "without labels; write a list with make-csv"),
        (["make-csv", "empty", "--out", "x.csv"], "contains no class folder"),
    ],
)
def test_errors_name_the_cause_without_a_traceback(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.mp4").touch()
    (tmp_path / "link").symlink_to("data/small")
    (tmp_path / "good.csv").write_text("a.mp4 1\n")
    (tmp_path / "bad.csv").write_text("a.mp4 1\npathonly\n")
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert (tmp_path / "good.csv").read_text() == "a.mp4 1\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("split good.csv out --shares train=0.8 val=0.8", "their sum 1"),
        ("split good.csv out --shares train", "--shares train: must be NAME=FRACTION"),
        ("split good.csv out --folds 20", "--folds 20: must be at most the number of groups"),
        ("split good.csv out --folds 2 --val-fraction 2", "--val-fraction 2.0: must be above 0"),
        ("make-csv data --dataset ucf --out x.csv", "--dataset ucf: must be one of features, frames,"),
        ("make-csv data --dataset ucf101 --out x.csv", "--num-classes: must be given"),
    ],
)
def test_wrong_options_have_a_status_of_their_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.csv").write_text("a.mp4 1\nb.mp4 1\n")
    assert main(arguments.split()) == 2
    assert message in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------- scan


@pytest.fixture(scope="module")
def mixed_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Valid videos and one of each kind of bad videos, and a list of all."""
    folder = tmp_path_factory.mktemp("mixed")
    write_video(folder / "good.mp4", 30, bf="2")
    write_video(folder / "also good.webm", 30, codec="libvpx")
    shutil.copy(folder / "good.mp4", folder / "twin.mp4")
    write_video(folder / "short.mp4", 3)
    (folder / "text.mp4").write_text("no video")
    (folder / "empty.mp4").touch()
    whole = bytearray(write_video(folder / "corrupt.mp4", 60, size=(128, 128)).read_bytes())
    for place in range(len(whole) // 2, len(whole) // 2 + 300):
        whole[place] ^= 0x5A
    (folder / "corrupt.mp4").write_bytes(whole)
    write_video(folder / "cut.mkv", 80, size=(128, 128))
    (folder / "cut.mkv").write_bytes(
        (folder / "cut.mkv").read_bytes()[: (folder / "cut.mkv").stat().st_size // 2]
    )
    names = sorted(path.name for path in folder.iterdir())
    write_csv(folder / "all.csv", [(name, i) for i, name in enumerate([*names, "missing.mp4"])])
    return folder


BAD = {
    "corrupt.mp4": "corrupt",
    "cut.mkv": "truncated",
    "empty.mp4": "empty",
    "missing.mp4": "missing",
    "short.mp4": "short",
    "text.mp4": "not a video",
    "twin.mp4": "label conflict",
}


def test_scan_lists_bad_videos_with_reasons_and_writes_a_clean_list(
    mixed_videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = mixed_videos / "clean.csv"
    report = prepare(
        *(
            "scan",
            mixed_videos / "all.csv",
            "--prefix",
            mixed_videos,
            "--clean",
            clean,
            "--min-seconds",
            "0.5",
        )
    )
    assert {Path(bad["path"]).name: bad["problem"] for bad in report["bad"]} == BAD
    assert (report["videos"], report["valid"]) == (9, 2)
    assert clean.read_text() == "also good.webm 0\ngood.mp4 4\n"
    assert "good.mp4: label conflict" not in (text := capsys.readouterr().out)
    assert f"{mixed_videos / 'twin.mp4'}: label conflict (same content as {mixed_videos / 'good.mp4'}" in text
    assert f"{mixed_videos / 'text.mp4'}: not a video (Invalid data found" in text
    assert "[Errno" not in text
    facts = {Path(fact["path"]).name: fact for fact in report["facts"]}["good.mp4"]
    assert (facts["frames"], facts["width"], facts["codec"]) == (30, 64, "h264")
    assert facts["seconds"] == pytest.approx(1.2)


def test_scan_continues_where_it_was_interrupted(
    mixed_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(mixed_videos, tmp_path / "videos")
    first = prepare("scan", folder)
    asked: list[str] = []

    def spy(task: Any, paths: Any, **options: Any) -> Any:
        asked.extend(paths := list(paths))
        return run_isolated(task, paths, **options)

    from slowfast.preparation.file_work.isolated import run_isolated

    monkeypatch.setattr("slowfast.preparation.file_work.work.run_isolated", spy)
    journal = tmp_path / "videos.scan.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:20])  # killed while it wrote the last line
    write_video(folder / "text.mp4", 30)  # changed since
    second = prepare("scan", folder)
    assert set(asked) == {json.loads(lines[-1])["path"], str(folder / "text.mp4")}
    asked.clear()
    assert second["valid"] == first["valid"] + 1
    prepare("scan", folder, "--quick")  # other settings: all files are checked again
    assert len(asked) == 8


@pytest.mark.parametrize("command", ["scan", "stats"])
def test_videos_of_variable_frame_rate_are_named(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "steady.mp4", 20)
    write_video(folder / "rounded.mkv", 30, fps=Fraction(30000, 1001))  # times in whole milliseconds
    pause = [40 * i for i in range(10)] + [5000 + 40 * i for i in range(10)]
    write_video(folder / "pause.mp4", 20, ticks=pause)
    report = prepare(command, folder)
    printed = capsys.readouterr().out
    assert "variable frame rate, sampled by time: 1" in printed
    assert f"  {folder}/pause.mp4" in printed
    if command == "stats":
        assert report["variable_rate"] == [f"{folder}/pause.mp4"]


# ----------------------------------------------------------------------------------------------- resize


def test_resize_keeps_names_times_and_frames(tmp_path: Path) -> None:
    source = tmp_path / "in"
    (source / "a").mkdir(parents=True)
    ticks = np.cumsum([0, *([20, 60] * 10)]).tolist()[:20]
    write_video(source / "a/wide.mp4", 20, size=(128, 258), ticks=ticks, bf="2")
    write_video(source / "small.webm", 20, size=(48, 64), codec="libvpx")
    write_video(source / "tall.avi", 20, size=(192, 96), codec="mpeg4")
    (source / "bad.mp4").write_text("no video")
    report = prepare("resize", source, tmp_path / "out", "--short-side", "64", "--gop", "5")
    assert (report["copied"], report["problems"]) == (3, {"not a video": 1})
    assert not (tmp_path / "out/bad.mp4").exists()
    sizes = {"a/wide.mp4": (64, 128), "small.webm": (48, 64), "tall.avi": (128, 64)}
    for name, size in sizes.items():
        with PyAVVideo(source / name) as before, PyAVVideo(tmp_path / "out" / name) as after:
            assert np.allclose(before.times.seconds, after.times.seconds, atol=2e-3)
        frames = decode(tmp_path / "out" / name)
        assert read_stamps(frames) == list(range(20))
        assert frames.shape[1:3] == size
    with av.open(str(tmp_path / "out/a/wide.mp4")) as copy:
        keys = [i for i, packet in enumerate(copy.demux(video=0)) if packet.is_keyframe]
    assert max(np.diff(keys)) <= 5  # a scene change starts a group early


def test_resize_lets_the_encoder_choose_the_frame_types(tmp_path: Path) -> None:
    """A decoded frame has a type, which an encoder would obey."""
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in/intra.mp4", 20, size=(128, 128), gop=1)
    prepare("resize", tmp_path / "in", tmp_path / "out", "--short-side", "64", "--gop", "20")
    with av.open(str(tmp_path / "out/intra.mp4")) as copy:
        intra = [frame.pict_type == PictureType.I for frame in copy.decode(video=0)]
    assert sum(intra) < 10


def test_resize_repeats_only_missing_copies(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / "in").mkdir(exist_ok=True)
        write_video(tmp_path / f"in/{i}.mp4", 5, size=(128, 128))
    prepare("resize", tmp_path / "in", tmp_path / "out", "--short-side", "64")
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out/1.mp4").unlink()
    assert prepare("resize", tmp_path / "in", tmp_path / "out", "--short-side", "64")["copied"] == 3
    changed = [p.name for p in (tmp_path / "out").iterdir() if p.stat().st_mtime_ns != times[p.name]]
    assert changed == ["1.mp4"]


def test_resize_of_a_list_may_write_into_the_folder_of_its_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "a.mp4", 5, size=(128, 128))
    write_csv(tmp_path / "all.csv", [("a.mp4", 0)])
    assert prepare("resize", tmp_path / "all.csv", "small", "--short-side", "64")["copied"] == 1
    assert (tmp_path / "small/a.mp4").exists()


def test_resize_keeps_a_rotation(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in/turned.mp4", 5, size=(128, 192), rotation=90)
    prepare("resize", tmp_path / "in", tmp_path / "out", "--short-side", "64")
    before, after = decode(tmp_path / "in/turned.mp4", size=64), decode(tmp_path / "out/turned.mp4")
    assert before.shape == after.shape == (5, 96, 64, 3)
    assert np.abs(before.astype(int) - after.astype(int)).mean() < 8


# ------------------------------------------------------------------------------------------ make-csv, split


def test_make_csv_from_a_folder_of_classes(tmp_path: Path) -> None:
    for name in ("wave/b.mp4", "wave/deep/a.mp4", "bow/c.avi", "bow/notes.txt"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).touch()
    prepare("make-csv", tmp_path / "videos", "--out", tmp_path / "all.csv", "--relative-to", tmp_path)
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
    options = ("--out", tmp_path / "all.csv", "--relative-to", tmp_path / "bow", "--separator", separator)
    prepare("make-csv", tmp_path, *options)
    found = read_csv(str(tmp_path / "all.csv"), num_classes=1, separator=separator)
    assert list(found.paths) == sorted(ODD_NAMES)
    prepare("split", tmp_path / "all.csv", tmp_path / "out", "--shares", "a=1", "--separator", separator)
    copy = read_csv(str(tmp_path / "out/a.csv"), num_classes=1, separator=separator)
    assert list(copy.paths) == sorted(ODD_NAMES)


@pytest.mark.parametrize(
    ("name", "options", "status", "message"),
    [
        ("x\ny.mp4", (), 1, "cannot be a line of a list separated by ' '; rename the file"),
        ("x.mp4", ("--separator", ", "), 2, "--separator ', ': must be one ASCII character"),
    ],
)
def test_make_csv_refuses_lines_that_cannot_be_read(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    options: tuple[str, ...],
    status: int,
    message: str,
) -> None:
    (tmp_path / "bow").mkdir()
    (tmp_path / "bow" / name).touch()
    assert main(["make-csv", str(tmp_path), "--out", str(tmp_path / "all.csv"), *options]) == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / "all.csv").exists()


def test_make_csv_refuses_a_class_without_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("bow/a.mp4", "wave/a.mp4.part"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert main(["make-csv", str(tmp_path), "--out", str(tmp_path / "all.csv")]) == 1
    assert "wave: this class folder must contain a video, but has only 1 file" in capsys.readouterr().err
    assert not (tmp_path / "classes.json").exists()


def test_make_csv_of_a_second_split_keeps_the_indices_of_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train/a/1.mp4", "train/b/2.mp4", "train/c/3.mp4", "val/a/4.mp4", "val/c/5.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    classes = {}
    for split in ("train", "val"):
        options = ("--out", tmp_path / f"{split}.csv", "--relative-to", tmp_path)
        prepare("make-csv", tmp_path / split, *options)
        classes[split] = json.loads((tmp_path / "classes.json").read_text())
    assert (tmp_path / "val.csv").read_text() == "val/a/4.mp4 0\nval/c/5.mp4 2\n"
    assert classes["train"] == classes["val"] == {"a": 0, "b": 1, "c": 2}
    (tmp_path / "val/d").mkdir()
    assert main(["make-csv", str(tmp_path / "val"), "--out", str(tmp_path / "new.csv")]) == 1
    assert "val: class 'd' is not in" in (error := capsys.readouterr().err)
    assert "write --out into another folder, or delete classes.json to assign new indices" in error
    (tmp_path / "classes.json").write_text('{"a": 0, "c": "2", "d": 3}')
    assert main(["make-csv", str(tmp_path / "val"), "--out", str(tmp_path / "new.csv")]) == 1
    assert "classes.json: 'c' = '2' is not a valid class index" in capsys.readouterr().err
    assert not (tmp_path / "new.csv").exists()


def test_make_csv_mentions_the_file_of_the_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "videos" / "wave").mkdir(parents=True)
    (tmp_path / "videos" / "wave" / "a.mp4").touch()
    arguments = ["make-csv", str(tmp_path / "videos"), "--out", str(tmp_path / "all.csv")]
    lines = [f"{tmp_path}/all.csv: 1 video", f"{tmp_path}/classes.json: 1 class"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == lines
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[1] == f"{lines[1]}, with the indices of an earlier list"


def test_make_csv_ignores_hidden_folders(tmp_path: Path) -> None:
    for name in (".ipynb_checkpoints/a.mp4", "wave/a.mp4"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True)
        (tmp_path / "videos" / name).touch()
    prepare("make-csv", tmp_path / "videos", "--out", tmp_path / "all.csv", "--relative-to", tmp_path)
    assert (tmp_path / "all.csv").read_text() == "videos/wave/a.mp4 0\n"
    assert json.loads((tmp_path / "classes.json").read_text()) == {"wave": 0}


def test_make_csv_keeps_all_digits_of_segments(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("path label start end\na.mp4 1 36000.04 36000.08\n")
    options = ("--dataset", "kinetics", "--num-classes", "2", "--out", tmp_path / "all.csv")
    prepare("make-csv", tmp_path, *options)
    assert (tmp_path / "all.csv").read_text().splitlines()[1] == "a.mp4 1 36000.04 36000.08"


def test_make_csv_from_official_annotations(tmp_path: Path) -> None:
    (tmp_path / "classInd.txt").write_text("1 Bow\n2 Wave\n")
    (tmp_path / "testlist02.txt").write_text("Wave/a.avi\nBow/gone.avi\n")
    (tmp_path / "Wave").mkdir()
    (tmp_path / "Wave/a.avi").touch()
    options = (
        "--dataset",
        "ucf101",
        "--split",
        "test",
        "--fold",
        "2",
        "--num-classes",
        "2",
        "--existing-only",
    )
    report = prepare("make-csv", tmp_path, "--out", tmp_path / "test.csv", "--separator", ",", *options)
    assert (tmp_path / "test.csv").read_text() == f"{tmp_path}/Wave/a.avi,1\n"
    assert report["missing"] == 1


def test_split_keeps_lines_classes_and_groups(tmp_path: Path) -> None:
    lines = [f"g{group}_{i}.mp4 {group % 2} 0 1" for group in range(20) for i in range(5)]
    (tmp_path / "all.csv").write_text("path label start end\n" + "\n".join(lines) + "\n")
    shares = ("--shares", "train=0.8", "val=0.2", "--group-by", r"(g\d+)_")
    report = prepare("split", tmp_path / "all.csv", tmp_path, *shares)
    assert report["classes"] == {"train": {"0": 40, "1": 40}, "val": {"0": 10, "1": 10}}
    parts = {name: (tmp_path / f"{name}.csv").read_text().splitlines() for name in ("train", "val")}
    assert parts["train"][0] == parts["val"][0] == "path label start end"
    assert sorted(parts["train"][1:] + parts["val"][1:]) == sorted(lines)
    groups = {name: {line.split("_")[0] for line in part[1:]} for name, part in parts.items()}
    assert not groups["train"] & groups["val"]


def test_split_warns_of_missing_classes_and_says_what_it_replaces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "all.csv").write_text("".join(f"{i}.mp4 {i % 2}\n" for i in range(10)))
    arguments = ["split", str(tmp_path / "all.csv"), str(tmp_path), "--shares", "train=0.9", "val=0.1"]
    assert main(arguments) == 0
    train, val = capsys.readouterr().out.splitlines()
    assert train == f"{tmp_path}/train.csv: 9 videos (90.0%) in 2 classes"
    assert "val.csv: 1 video (10.0%) in 1 class; warning: lacks 1 class (" in val
    assert main(arguments) == 0
    assert [
        line.endswith("; an earlier list was replaced") for line in capsys.readouterr().out.splitlines()
    ] == [
        True,
        True,
    ]


def test_divide_is_stratified_seeded_and_random() -> None:
    rng = np.random.default_rng(0)
    labels = [str(label) for label in rng.choice(10, 2000, p=np.arange(1, 11) / 55)]
    videos = [str(i) for i in range(2000)]
    parts = divide(labels, videos, [0.7, 0.2, 0.1], seed=1)
    assert parts == divide(labels, videos, [0.7, 0.2, 0.1], seed=1)
    assert parts != divide(labels, videos, [0.7, 0.2, 0.1], seed=2)
    totals = Counter(labels)
    for part, fraction in enumerate([0.7, 0.2, 0.1]):
        held = Counter(label for label, p in zip(labels, parts, strict=True) if p == part)
        assert all(abs(held[label] - fraction * totals[label]) <= 1 for label in totals)


# ------------------------------------------------------------------------------------------------ stats


def test_stats_and_plots(mixed_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos = shutil.copytree(mixed_videos, tmp_path / "videos")
    for plots in ("plots.html", "plots.png"):
        report = prepare("stats", videos / "all.csv", "--prefix", videos, "--plots", tmp_path / plots)
    assert (tmp_path / "plots.png").read_bytes().startswith(b"\x89PNG")
    assert "data:image/png;base64," in (tmp_path / "plots.html").read_text()
    assert report["codecs"] == {"h264": 5, "vp8": 1}
    assert report["problems"] == {"missing": 1, "truncated": 1, "empty": 1, "not a video": 1}
    assert report["frames"]["least"] == 3
    assert report["fps"]["median"] == pytest.approx(25, abs=0.1)
    assert len(report["classes"]) == 9
    printed = capsys.readouterr().out
    assert "9 classes with 1 video each" in printed
    assert "9 videos, 7.56 seconds, 42.91 kB" in printed
    assert re.search(r"^ +min +25 % +median +75 % +max\nduration, s ", printed, re.MULTILINE)
    assert os.path.exists(videos / "all.csv.stats.jsonl")
