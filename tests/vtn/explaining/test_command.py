"""``vtn explain``: pages, splits, mistakes on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from slowfast.errors import DataError
from tests.support.inference.command import exit_status
from vtn import Predictor
from vtn.cli.explain import main
from vtn.explaining.split import FaithfulnessRow, describe_summaries, summarize_rankings


def explain_on_cpu(arguments: list[str]) -> int:
    """Returns the exit status of ``vtn explain`` on the CPU."""
    return exit_status(main, [*arguments, "--device=cpu"])


def test_a_page_is_written_with_its_files(
    published: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "pages" / "page.html"
    options = ["--output", str(page), "--class", "still", "--top-frames=2", "--no-regions"]
    assert explain_on_cpu([str(published), str(videos / "06.mp4"), *options]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{videos}/06.mp4: still 0.")
    assert shown.splitlines()[-3:] == [str(page.with_suffix(suffix)) for suffix in (".html", ".json", ".png")]
    values = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert values["explained_class"] == "still"
    assert len(values["top_frames"]) <= 2
    assert explain_on_cpu([str(published), str(videos / "06.mp4"), *options]) == 0, (
        "it replaces its own files"
    )


@pytest.mark.parametrize("suffix", [".json", ".png"])
def test_files_of_others_beside_the_page_stay(
    suffix: str, published: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / f"results{suffix}"
    results.write_text('{"videos": []}')
    options = ["--output", str(tmp_path / "results.html"), "--no-regions"]
    assert explain_on_cpu([str(published), str(videos / "06.mp4"), *options]) == 1
    shown = capsys.readouterr().err
    assert f"{results}: would be replaced by a file of the explanation, but is not of an earlier one" in shown
    assert [path.name for path in tmp_path.iterdir()] == [results.name]


def test_an_unknown_class_is_a_wrong_argument(
    published: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--output", str(tmp_path / "page.html"), "--class", "up"]
    assert explain_on_cpu([str(published), str(videos / "06.mp4"), *options]) == 2
    assert "--class 'up': must be a name of a class (" in capsys.readouterr().err


def test_a_split_is_measured(
    published: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The broken video and that of one frame are named, and do not end the work."""
    output = tmp_path / "faithfulness.json"
    assert explain_on_cpu([str(published), "--split", str(videos / "test.csv"), "--output", str(output)]) == 1
    shown = capsys.readouterr()
    assert f"{videos}/broken.mp4: not a video" in shown.err
    assert f"{videos}/01.mp4: the video has 1 frame" in shown.err
    assert shown.out.startswith("3 videos; mean area under the curve")
    content = json.loads(output.read_text(encoding="utf-8"))
    assert (content["num_videos"], content["num_failed"]) == (3, 2)
    explanation = Predictor(published, device="cpu").explain(videos / "06.mp4")
    row = next(row for row in content["per_video"] if row["video"].endswith("06.mp4"))
    assert row["class"] == explanation.class_name
    for name, curves in explanation.faithfulness.items():
        assert row["deletion_area"][name] == pytest.approx(curves.deletion.area, abs=1e-6)
        assert row["insertion_area"][name] == pytest.approx(curves.insertion.area, abs=1e-6)
    measured = [row for row in content["per_video"] if "error" not in row]
    for name, summary in content["rankings"].items():
        mean = np.mean([row["deletion_area"][name] for row in measured])
        assert summary["deletion_area"]["value"] == pytest.approx(mean)
    assert content["rankings"]["random"]["better_than_random"] is None


def test_a_split_can_be_cut_short(published: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = videos / "few.csv"
    split.write_text("13.mp4 0\n06.mp4 1\n24.mp4 2\n")
    arguments = ["--split", str(split), "--prefix", str(videos), "--limit", "2"]
    assert explain_on_cpu([str(published), *arguments]) == 0
    assert capsys.readouterr().out.startswith("2 videos;")
    split.write_text("13.mp4,0\n")
    assert explain_on_cpu([str(published), *arguments]) == 1
    assert "--separator" in capsys.readouterr().err
    assert explain_on_cpu([str(published), *arguments, "--separator=,"]) == 0


def test_segments_of_a_split_are_refused(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cut.csv").write_text("path label start end\n13.mp4 0 0 0.2\n")
    assert explain_on_cpu([str(published), "--split", str(tmp_path / "cut.csv")]) == 1
    assert "has segments of files" in capsys.readouterr().err


def test_a_summary_counts_videos_that_beat_random_order() -> None:
    def row(deletion: float, insertion: float) -> FaithfulnessRow:
        return FaithfulnessRow(
            "a", 0, 0.9, {"occlusion": deletion, "random": 0.5}, {"occlusion": insertion, "random": 0.6}
        )

    rows = [row(0.1, 0.9), row(0.3, 0.7), row(0.8, 0.2), FaithfulnessRow("b", error="broken")]
    occlusion, random = summarize_rankings(rows)
    assert occlusion.better == pytest.approx(2 / 3)
    assert np.isnan(random.better)
    assert occlusion.deletion.value == pytest.approx(0.4)
    assert occlusion.insertion.low < 0.6 < occlusion.insertion.high
    assert "67 %" in describe_summaries([occlusion, random], 3)
    with pytest.raises(DataError, match="no video could be measured"):
        summarize_rankings(rows[3:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["MODEL"], "give SOURCE and one VIDEO, or SOURCE and --split"),
        (["MODEL", "a.mp4", "--split", "b.csv"], "give SOURCE and one VIDEO, or SOURCE and --split"),
        (["MODEL", "a.mp4"], "--output: must be given; name the page, such as"),
        (["MODEL", "a.mp4", "--output", "a.html", "--limit", "3"], "belong to --split"),
        (["MODEL", "--split", "a.csv", "--output", "a.html"], "must end in .json with --split"),
        (["MODEL", "--split", "a.csv", "--class", "x"], "--class: belongs to the explanation of one VIDEO"),
    ],
)
def test_mistakes_on_the_command_line_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain_on_cpu(arguments) == 2
    assert message in capsys.readouterr().err
