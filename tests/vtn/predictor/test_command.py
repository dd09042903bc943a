"""``vtn predict SOURCE VIDEO…``: folders, patterns and lists, files of results, failures."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.inference.command import ctrl_c_at, exit_status, predict_on_cpu
from tests.support.sharding.shards import write_tar
from tests.support.tiny_models import CLASS_NAMES
from tests.support.videos import write_video
from vtn import Predictor
from vtn.cli.predict import main
from vtn.predictor.scoring import ClipScorer


@pytest.fixture
def clips(videos: Path, tmp_path: Path) -> Path:
    """A folder of two videos, one of them in a folder below, a broken one, and a text."""
    folder = tmp_path / "clips"
    (folder / "below").mkdir(parents=True)
    (folder / "a.mp4").write_bytes((videos / "05.mp4").read_bytes())
    (folder / "below" / "b.mp4").write_bytes((videos / "12.mp4").read_bytes())
    (folder / "broken.mp4").write_text("not a video")
    (folder / "notes.txt").write_text("not a video either")
    return folder


def test_a_broken_video_of_a_folder_is_listed_in_all_files_of_results(
    published: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {kind: tmp_path / f"scores.{kind}" for kind in ("json", "csv", "jsonl")}
    options = [f"--{kind}={path}" for kind, path in files.items()]
    assert predict_on_cpu([str(published), str(clips), "--top=2", *options]) == 1
    shown = capsys.readouterr()
    names = ["a.mp4", "below/b.mp4", "broken.mp4"]
    *expected, _ = Predictor(published, device="cpu").stream([clips / name for name in names])
    assert shown.out.splitlines() == [prediction.describe_in_a_line(2) for prediction in expected]
    failure, summary = shown.err.splitlines()
    reason = "not a video (Invalid data found when processing input; moov atom not found)"
    assert failure == f"vtn predict: {clips}/broken.mp4: {reason}"
    assert summary.startswith("2 of 3 videos predicted, 1 failed")
    assert summary.endswith(" s; 1 other file ignored")

    content = json.loads(files["json"].read_text())
    assert content["classes"] == list(CLASS_NAMES)
    assert content["videos"][:2] == [prediction.to_dict(2) for prediction in expected]
    assert content["videos"][2]["error"].startswith("not a video")
    lines = [json.loads(line) for line in files["jsonl"].read_text().splitlines()]
    assert lines == content["videos"]
    with files["csv"].open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["video", "start", "end", "error", *CLASS_NAMES]
    assert rows[1][:4] == [str(clips / "a.mp4"), "0.000", "0.500", ""]
    np.testing.assert_allclose(np.array(rows[1][4:], float), expected[0].scores, atol=1e-6)
    assert rows[3][0] == str(clips / "broken.mp4")
    assert rows[3][3].startswith("not a video")


def test_an_image_among_videos_is_shown_as_one_frame(
    published: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (48, 48)).save(clips / "photo.png")
    files = [str(clips / name) for name in ("photo.png", "a.mp4")]
    assert predict_on_cpu([str(published), *files]) == 0
    photo, video = capsys.readouterr().out.splitlines()
    assert photo.startswith(files[0])
    assert photo.endswith(" (1 frame)")
    assert "frame" not in video
    assert predict_on_cpu([str(published), files[0]]) == 0
    assert ", 1 frame scored" in capsys.readouterr().out


def test_a_video_in_place_of_the_model_is_named(
    published: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict_on_cpu([str(clips / "a.mp4"), str(published)]) == 1
    assert "a.mp4: is a video and not a model; give the model first, then videos" in capsys.readouterr().err


def test_one_video_is_shown_in_full(published: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict_on_cpu([str(published), str(clips / "a.mp4")]) == 0
    shown = capsys.readouterr()
    assert shown.out == Predictor(published, device="cpu")(clips / "a.mp4").describe() + "\n"
    assert shown.err == ""


def test_a_video_in_a_shard_has_the_scores_of_the_file(published: Path, clips: Path, tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "shard-000000.tar", {"000007.mp4": (clips / "a.mp4").read_bytes()})
    name, scores = f"{shard}: 000007.mp4", tmp_path / "scores.json"
    assert predict_on_cpu([str(published), name, str(clips / "a.mp4"), f"--json={scores}"]) == 0
    one, other = json.loads(scores.read_text())["videos"]
    assert one.pop("video") == name
    assert other.pop("video") == str(clips / "a.mp4")
    assert one == other


def test_a_name_of_a_truncated_video_cannot_change_the_terminal(
    published: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Lines of the log had the characters of the name as they are."""
    options = {"movflags": "faststart"}
    video = write_video(tmp_path / "red\x1b[31m.mp4", 60, size=(128, 128), container_options=options)
    video.write_bytes(video.read_bytes()[: video.stat().st_size * 6 // 10])
    assert predict_on_cpu([str(published), str(video)]) == 0
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"WARNING: {tmp_path}/red\\x1b[31m.mp4: is truncated (")


@pytest.mark.parametrize("mode", ["--quiet", "--progress"])
def test_modes_without_lines_print_failures_alone(
    mode: str, published: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict_on_cpu([str(published), str(clips), mode]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "broken.mp4: not a video" in shown.err


def test_standard_output_takes_one_file_instead_of_lines(
    published: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict_on_cpu([str(published), str(clips / "a.mp4"), "--jsonl=-"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["video"] == str(clips / "a.mp4")


def test_patterns_and_lists(
    published: Path, clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = os.fsdecode(b"b\xff[1].mp4")  # not UTF-8, and a pattern if it did not exist
    (clips / odd).write_bytes((clips / "a.mp4").read_bytes())
    lines = b"%s/a.mp4\n%s/b\xff[1].mp4\r\n\nhttp://127.0.0.1/x.mp4\n" % ((os.fsencode(clips),) * 2)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    patterns = [f"{clips}/**/b.mp4", f"{clips}/none*.mp4"]
    assert predict_on_cpu([str(published), *patterns, "-", "--top=1"]) == 1
    shown = capsys.readouterr()
    assert [line.partition(": ")[0] for line in shown.out.splitlines()] == [
        f"{clips}/below/b.mp4",
        f"{clips}/a.mp4",
        f"{clips}/b\\udcff[1].mp4",
    ]
    assert f"{clips}/none*.mp4: no file has a name of this pattern" in shown.err
    assert "http://127.0.0.1/x.mp4: addresses are opened as arguments only, not from a list" in shown.err


def test_a_video_on_standard_input_is_refused(
    published: Path, clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = io.BytesIO((clips / "a.mp4").read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content))
    assert predict_on_cpu([str(published), "-"]) == 2
    assert "standard input must be a list of paths" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["json", "csv", "jsonl"])
def test_a_full_disk_names_the_file(
    published: Path, clips: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    full = tmp_path / f"scores.{kind}"
    full.symlink_to("/dev/full")
    assert predict_on_cpu([str(published), str(clips / "a.mp4"), f"--{kind}={full}"]) == 1
    message = f"vtn predict: {full}: cannot be used (No space left on device); make room or restore"
    assert capsys.readouterr().err.startswith(message)
    assert full.is_char_device()


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
@pytest.mark.parametrize("to_file", [False, True])
def test_names_that_are_not_utf8_keep_their_bytes_in_results(
    kind: str, to_file: bool, published: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / os.fsdecode(b"b\xff.mp4")).write_bytes((clips / "a.mp4").read_bytes())
    (folder / os.fsdecode(b"broken\xff.mp4")).write_text("not a video")
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", output)
    target = tmp_path / "scores" if to_file else "-"
    assert predict_on_cpu([str(published), str(folder), f"--{kind}={target}"]) == 1
    output.flush()
    written = (tmp_path / "scores").read_bytes() if to_file else output.buffer.getvalue()  # type: ignore[attr-defined]
    assert os.fsencode(folder) + b"/b\xff.mp4" in written
    assert os.fsencode(folder) + b"/broken\xff.mp4" in written
    assert output.errors == "strict"


def test_windows_of_several_videos_are_printed_and_written(
    published: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "scores.csv"
    names = [str(clips / "a.mp4"), str(clips / "below" / "b.mp4")]
    assert predict_on_cpu([str(published), *names, "--window=1", "--fps=10", f"--csv={table}"]) == 0
    assert capsys.readouterr().out.count("over time:") == 2
    with table.open(newline="") as file:
        spans = [row[:3] for row in csv.reader(file)][1:]
    assert [[float(end) for end in span[1:]] for span in spans] == [
        [0, 0.5], [0, 0.5], [0, 1.2], [0, 1.2],
    ]  # fmt: skip


def test_views_are_merged(
    published: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scores.json"
    assert predict_on_cpu([str(published), str(clips / "a.mp4"), "--views", "2", "3", f"--json={path}"]) == 0
    (video,) = json.loads(path.read_text())["videos"]
    expected = Predictor(published, device="cpu", views=(2, 3))(clips / "a.mp4")
    assert video["scores"] == expected.scores.tolist()


def test_ctrl_c_keeps_earlier_files_and_the_lines_so_far(
    published: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, lines = tmp_path / "scores.json", tmp_path / "scores.jsonl"
    path.write_text("complete results of an earlier command")
    command = [str(published), str(clips), "--batch-size=1", f"--json={path}"]
    with ctrl_c_at(ClipScorer, "score"):
        assert predict_on_cpu(command) == 130
    shown = capsys.readouterr().err
    assert f"stopped by Ctrl-C: 1 of 3 videos are done; {path} not written, so that an earlier file" in shown
    assert shown.endswith("; --jsonl FILE keeps the results so far\n")
    with ctrl_c_at(ClipScorer, "score"):
        assert predict_on_cpu([*command, f"--jsonl={lines}"]) == 130
    assert capsys.readouterr().err.endswith(
        f"; --jsonl {lines} has the results so far; add --resume to continue\n"
    )
    assert path.read_text() == "complete results of an earlier command"
    assert len(lines.read_text().splitlines()) == 1


def test_archives_and_lists_of_path_and_label_name_the_way_to_give_them(
    published: Path, clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = clips / "test.csv"
    table.write_text(f"{clips}/a.mp4 0\n{clips}/lost.mp4 1\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(table.read_bytes())))
    (archive := clips / "a.ZIP").touch()
    assert predict_on_cpu([str(published), str(table), str(archive), "-"]) == 1
    shown = capsys.readouterr().err
    assert f"{archive}: is an archive and not a video; unpack it, and give the folder" in shown
    remedy = "give the paths without labels, such as by "
    text = "is a text and not a video; give a list of paths by `- < LIST`; of `path label`"
    assert f"{table}: {text} {remedy}" in shown
    assert f"{clips}/a.mp4 0: does not exist, but {clips}/a.mp4 does; for a line `path label`" in shown
    assert f"{clips}/lost.mp4 1: missing" in shown
    command = shown.partition(remedy)[2].partition(" LIST | vtn predict SOURCE -")[0]
    lines = "a clip.mp4 0\nb.mp4,12\nc.mp4\t3,4\n"
    result = subprocess.run(shlex.split(command), input=lines, capture_output=True, text=True, check=True)
    assert result.stdout == "a clip.mp4\nb.mp4\nc.mp4\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["SOURCE"], "give SOURCE and at least one VIDEO"),
        (["SOURCE", "a", "--stride=1"], "--stride: needs --window or --live"),
        (["SOURCE", "a", "--views", "2", "0"], "0: must be 1 or more"),
        (["SOURCE", "a", "--views", "2", "1", "--window=1"], "--views: scores clips"),
        (["SOURCE", "a", "b", "--live=1"], "--live: follows one VIDEO"),
        (["SOURCE", "a", "--live=1", "--json=f"], "--live: excludes"),
        (["SOURCE", "a", "--json=f", "--csv=./f"], "--csv ./f: is the file of --json, too; name another one"),
        (["SOURCE", "a", "--json=-", "--csv=-"], "only one of --json"),
        (["SOURCE", "a", "--output=a.json"], "--output: belongs to --checkpoint"),
        (["a", "--checkpoint=w.pyth"], "--checkpoint: needs --cfg"),
        (
            ["/", "--checkpoint=w.pyth", "--cfg=QUICKSTART"],
            "/: is a folder, but --checkpoint predicts one video; for all videos in it use vtn predict",
        ),
        (["a", "--checkpoint=w.pyth", "--cfg=QUICKSTART", "--jsonl=a"], "--jsonl: belongs to the form"),
    ],
)
def test_mistakes_in_the_command_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(main, arguments) == 2
    assert message in capsys.readouterr().err
