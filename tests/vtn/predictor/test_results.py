"""Files of ``vtn predict``: continuation of a stopped one, settings, reasons of failures."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import vtn
from slowfast.errors import DecodeError, InputError, NotFiniteError
from tests.support.inference.command import ctrl_c_at, predict_on_cpu
from tests.support.tiny_models import CLASS_NAMES
from vtn import Predictor
from vtn.cli.resumed_lines import hold_lines
from vtn.predictor.scoring import ClipScorer
from vtn.predictor.texts import describe_failure, failure_reason


def predict(*arguments: object) -> int:
    """Returns the exit status of ``vtn predict``."""
    return predict_on_cpu([*map(str, arguments)])


@pytest.fixture
def clips(videos: Path, tmp_path: Path) -> Path:
    """A folder of four videos, one of which is broken."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name, source in (("a", "05"), ("c", "12"), ("d", "13")):
        (folder / f"{name}.mp4").write_bytes((videos / f"{source}.mp4").read_bytes())
    (folder / "b.mp4").write_text("not a video")
    return folder


def videos_of(lines: Path) -> list[str]:
    """Returns the names of the videos of a file, those that failed in parentheses."""
    read = [json.loads(line) for line in lines.read_text().splitlines()]
    names = [Path(one["video"]).stem for one in read]
    return [f"({name})" if "error" in one else name for name, one in zip(names, read, strict=True)]


def test_a_stopped_prediction_continues(
    published: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "scores.jsonl"
    command = (published, clips, f"--jsonl={lines}", "--resume", "--batch-size=1")
    with ctrl_c_at(ClipScorer, "score", when=lambda: lines.read_text()):
        assert predict(*command) == 130
    assert f"--jsonl {lines} has the results so far; add --resume to continue" in capsys.readouterr().err
    done = videos_of(lines)
    assert 0 < len(done) < 4
    assert done[0] == "a"
    first = lines.read_text().splitlines()[0]

    assert predict(*command) == 1  # the broken video is tried again
    shown = capsys.readouterr()
    assert "a.mp4" not in shown.out
    assert f"had scores in {lines}" in shown.err
    assert sorted(videos_of(lines)) == ["(b)", "a", "c", "d"]
    assert lines.read_text().splitlines()[0] == first

    (clips / "b.mp4").write_bytes((clips / "a.mp4").read_bytes())
    assert predict(*command) == 0
    assert "1 of 1 video predicted" in capsys.readouterr().err
    assert sorted(videos_of(lines)) == ["a", "b", "c", "d"]
    assert predict(*command) == 0
    printed = capsys.readouterr().err
    assert printed.startswith("0 of 0 videos predicted, ")
    assert f"; 4 videos had scores in {lines}" in printed


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_killed_prediction_continues_from_any_byte(
    data: st.DataObject, published: Path, clips: Path, tmp_path: Path
) -> None:
    lines, complete = tmp_path / "scores.jsonl", tmp_path / "complete.jsonl"
    if not complete.exists():
        assert predict(published, clips, f"--jsonl={complete}", "--quiet") == 1
        Path(f"{lines}.settings.json").write_bytes(Path(f"{complete}.settings.json").read_bytes())
    content = complete.read_bytes()
    lines.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    assert predict(published, clips, f"--jsonl={lines}", "--quiet", "--resume") == 1
    found, expected = (
        {json.loads(line)["video"]: json.loads(line) for line in path.open()} for path in (lines, complete)
    )
    assert len(lines.read_text().splitlines()) == len(expected)
    assert found.keys() == expected.keys()
    for name, one in found.items():
        assert one.get("error") == expected[name].get("error")
        assert one.get("scores", []) == pytest.approx(expected[name].get("scores", []), abs=1e-5)


@pytest.mark.parametrize("options", [["--resume"], [], ["--live=1"]])
def test_two_commands_do_not_write_one_file(
    options: list[str], published: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "new" / "scores.jsonl"
    command = (published, clips / "a.mp4", f"--jsonl={lines}", *options)
    with hold_lines(str(lines), resumes=False):
        assert predict(*command) == 2
    assert "scores.jsonl: another command is writing there; wait, or name" in capsys.readouterr().err
    assert predict(*command) == 0
    assert sorted(path.name for path in lines.parent.iterdir()) == [
        "scores.jsonl",
        "scores.jsonl.settings.json",
    ]


def test_the_documented_entries_are_there(published: Path, clips: Path, tmp_path: Path) -> None:
    lines = tmp_path / "scores.jsonl"
    assert predict(published, clips, f"--jsonl={lines}", "--window=1") == 1
    read = {Path(one["video"]).stem: one for one in map(json.loads, lines.read_text().splitlines())}
    assert read["b"].keys() == {"video", "error", "reason"}
    names = documented_names("entry of a video")
    assert read["a"].keys() | read["b"].keys() <= names
    assert read["a"]["windows"][0].keys() | read["a"]["top"][0].keys() <= names


def documented_names(heading: str) -> set[str]:
    """Returns what stands between backticks in a table of docs/DEPLOYMENT.md."""
    page = Path(__file__).parents[3].joinpath("docs", "DEPLOYMENT.md").read_text(encoding="utf-8")
    table = page.partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    return set(re.findall(r"`([a-z_ ]+)`", table))


def test_names_that_are_not_utf8_are_found_again(published: Path, clips: Path, tmp_path: Path) -> None:
    (clips / "b.mp4").unlink()
    (clips / "a.mp4").rename(clips / os.fsdecode(b"a\xff.mp4"))
    lines = tmp_path / "scores.jsonl"
    command = (published, clips, f"--jsonl={lines}", "--resume")
    assert predict(*command) == 0
    written = lines.read_bytes()
    assert predict(*command) == 0
    assert lines.read_bytes() == written


def test_the_files_say_how_they_were_made(published: Path, clips: Path, tmp_path: Path) -> None:
    lines, whole = tmp_path / "scores.jsonl", tmp_path / "scores.json"
    video = clips / "a.mp4"
    assert predict(published, video, f"--jsonl={lines}", f"--json={whole}", "--window=1") == 0
    content = json.loads(whole.read_text())
    described = json.loads(Path(f"{lines}.settings.json").read_text())
    assert described == {"classes": content["classes"], "settings": content["settings"]}
    assert described["classes"] == list(CLASS_NAMES)
    made = described["settings"]
    published_facts = json.loads((published / "config.json").read_text())
    assert made["version"] == vtn.__version__
    assert made["model"] == str(published)
    assert made["weights"] == published_facts["weights_digest"]
    assert made["evaluation"] == published_facts["evaluation"]
    assert (made["window"], made["fps"], made["precision"]) == (1, None, "float32")


def test_a_result_in_python_is_written_as_the_command_writes_it(
    published: Path, clips: Path, tmp_path: Path
) -> None:
    """A program that reads the files of the one reads those of the other."""
    video = clips / "a.mp4"
    files = [f"--json={tmp_path / 'command.json'}", f"--csv={tmp_path / 'command.csv'}"]
    assert predict(published, video, *files, "--window=1") == 0
    result = Predictor(published, device="cpu")(video, window_seconds=1)
    for suffix in (".json", ".csv"):
        result.write(tmp_path / f"python{suffix}")
    content = json.loads((tmp_path / "command.json").read_text())
    del content["settings"]
    assert json.loads((tmp_path / "python.json").read_text()) == content
    assert (tmp_path / "python.csv").read_text() == (tmp_path / "command.csv").read_text()


def test_scores_of_other_settings_are_not_mixed(
    published: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "scores.jsonl"
    command = (published, clips / "a.mp4", f"--jsonl={lines}", "--resume")
    assert predict(*command, "--fps=5") == 0
    before = lines.read_bytes()
    assert predict(*command) == 2
    shown = capsys.readouterr().err
    assert (
        "scores.jsonl were made with other settings: fps was 5.0 and is now None. Restore them, or" in shown
    )
    Path(f"{lines}.settings.json").unlink()
    assert predict(*command, "--fps=5") == 2
    assert "scores.jsonl.settings.json is missing or damaged" in capsys.readouterr().err
    assert lines.read_bytes() == before
    for odd in ("[1]", "[" * 100_000):
        lines.write_text(f'{{"video": "a.mp4", "scores": []}}\n{odd}\n')
        assert predict(*command) == 1
        assert "scores.jsonl, line 2: was not written by `vtn predict --jsonl`" in capsys.readouterr().err


def test_results_replace_neither_a_video_nor_the_model(
    published: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user who takes --json for a switch names a video behind it."""
    video, image = clips / "a.mp4", tmp_path / "image"
    Image.new("RGB", (32, 32)).save(image, "PNG")
    kept = {path: path.read_bytes() for path in (video, image, published / "config.json")}
    assert predict(published, "--json", video, clips / "c.mp4") == 2
    assert f"{video}: is the name of a video, and would be replaced; name the file" in capsys.readouterr().err
    assert predict(published, image, "--csv", image) == 2
    assert f"--csv {image}: is one of the videos; name another file" in capsys.readouterr().err
    assert predict(published, video, f"--json={published}/config.json") == 2
    assert "config.json: belongs to the model; name another file" in capsys.readouterr().err
    assert kept == {path: path.read_bytes() for path in kept}


@pytest.mark.parametrize(
    "options",
    [[], ["--jsonl=-"], ["--jsonl=f", "--csv=g"], ["--jsonl=f", "--json=g"], ["--jsonl=f", "--live=5"]],
)
def test_resume_needs_a_file_of_lines_alone(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("SOURCE", "a", "--resume", *options) == 2
    assert "--resume: needs --jsonl FILE, and excludes --json, --csv and --live" in capsys.readouterr().err


def test_a_device_gets_lines_and_no_settings(published: Path, clips: Path) -> None:
    assert predict(published, clips / "a.mp4", "--jsonl=/dev/null") == 0
    assert not Path("/dev/null.settings.json").exists()
    assert predict(published, clips / "a.mp4", "--jsonl=/dev/null", "--resume") == 2


def test_failures_of_a_stream_have_reasons(published: Path, videos: Path) -> None:
    predictor = Predictor(published, device="cpu")
    names = [
        "missing.mp4",
        *(str(videos / name) for name in ("broken.mp4", "empty.mp4", "05.mp4")),
        str(videos),
    ]
    results = list(predictor.stream([*names, np.zeros((1, 2))]))
    expected = ["missing", "not a video", "empty", "", "not a file", "input"]
    assert [result.reason for result in results] == expected
    assert [bool(result.error) for result in results] == [bool(reason) for reason in expected]
    for name, result in zip(names, results, strict=False):
        if result.reason:
            assert result.to_dict() == {"video": name, "error": result.error, "reason": result.reason}
            with pytest.raises(DecodeError) as raised:
                predictor(name)
            assert raised.value.reason == result.reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DecodeError("a.mp4", "corrupt", "frame 3"), "corrupt"),
        (PermissionError(13, "Permission denied"), "not permitted"),
        (ConnectionResetError(104, "Connection reset by peer"), "unreadable"),
        (MemoryError(), "memory"),
        (NotFiniteError("scores are NaN", [0]), "not finite"),
        (InputError("a.mp4 3: does not exist"), "input"),
    ],
)
def test_errors_of_other_kinds_have_reasons(error: Exception, reason: str) -> None:
    assert failure_reason(error) == reason


def test_a_failure_of_a_video_with_a_line_break_in_its_name_has_its_reason() -> None:
    assert describe_failure(DecodeError("a\nb.mp4", "empty"), "a\nb.mp4") == "empty"


def test_the_guide_names_the_reasons_of_the_code() -> None:
    root = Path(__file__).parents[3]
    documented = documented_names("`reason`")
    code = "".join(path.read_text(encoding="utf-8") for path in (root / "slowfast" / "video").rglob("*.py"))
    used = set(re.findall(r"DecodeError\(\s*[^,]+,\s*\"([a-z ]+)\"", code))
    # A segment is of a list of training, and a closed video is a mistake of a program.
    assert used - {"segment outside", "closed"} <= documented


def test_temporary_features_are_not_flushed_to_the_disk(
    published: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    (result,) = Predictor(published, device="cpu").stream([videos / "70.mp4"], window_seconds=2)
    assert result.timeline is not None
    assert flushed == []
