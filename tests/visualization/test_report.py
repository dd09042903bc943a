"""The report is one HTML file that shows the given results and filmstrips, and loads no other file."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slowfast.datasets.clip import BrokenVideo
from slowfast.engine.prediction_file import Predictions
from slowfast.visualization.filmstrip import FRAME_HEIGHT, Filmstrip, cut_filmstrip
from slowfast.visualization.report import Report, Result, render_report, write_report
from slowfast.visualization.run_log import read_run_log
from tests.support.pages.html_page import HtmlPage
from tests.support.pages.predictions import make_predictions
from tests.support.videos import write_video

NAMES = ["walk", "run <fast>", "jump"]


def predictions(guesses: list[int], *, broken: tuple[BrokenVideo, ...] = ()) -> Predictions:
    """Returns predictions of six videos, two per class, with the given predicted classes."""
    meta = {"seconds_per_video": 0.25}
    return make_predictions(np.eye(3)[guesses], np.arange(6) // 2, NAMES, broken=broken, meta=meta)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    lines = [
        {"_type": "train_iter", "epochs_done": 0.5, "loss": 2.0, "top1_err": 90.0},
        {"_type": "val_epoch", "epoch": 1, "loss": 1.5, "top1_err": 70.0},
        {"_type": "val_epoch", "epoch": 2, "loss": None, "top1_err": 60.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


@pytest.fixture
def page(run_folder: Path, stamped_video: Path) -> str:
    image, seconds = cut_filmstrip(str(stamped_video), 8)
    broken = (BrokenVideo(7, "bad&ugly.mp4", "truncated", "no moov"),)
    report = Report(
        title="A report",
        summary="What it is about.",
        results=[
            Result("whole video", predictions([0, 0, 1, 2, 2, 2], broken=broken), "one pass"),
            Result("shuffled", predictions([0, 1, 2, 0, 1, 2])),
        ],
        runs=[read_run_log(run_folder, "VTN <a>")],
        filmstrips=[Filmstrip("0.mp4", "walk", "jump", 0.9, image, seconds, [0.125] * 8)],
        config="MODEL:\n  NAME: <none>\n",
        timings=[("train", 75.0)],
        packages=["pytest", "not-installed"],
    )
    path = run_folder / "report.html"
    write_report(path, report)
    return path.read_text(encoding="utf-8")


def test_the_page_loads_no_other_files(page: str) -> None:
    parsed = HtmlPage(page)
    assert parsed.loads
    assert all(address.startswith("data:") for address in parsed.loads)
    assert not re.search(r"https?://|@import|url\(", page)
    assert "script" not in parsed.tags
    assert len(page) < 3_000_000


def test_images_charts_and_tables_have_descriptions(page: str) -> None:
    parsed = HtmlPage(page)
    assert parsed.unnamed == []
    assert parsed.tags.count("table") == parsed.tags.count("caption")
    assert 'lang="en"' in page


def test_results_times_and_versions_are_shown(page: str) -> None:
    assert "83.3 %" in page
    assert "33.3 %" in page
    assert "250.0 ms" in page
    assert "predicted as <bdi>jump</bdi>" in page
    assert "1 min 15 s" in page
    assert pytest.__version__ in page
    assert "not-installed" not in page


def test_text_is_escaped(page: str) -> None:
    assert "run &lt;fast&gt;" in page
    assert "bad&amp;ugly.mp4" in page
    assert "no moov" in page
    assert "NAME: &lt;none&gt;" in page
    assert "<fast>" not in page
    assert "VTN <a>" not in page


def test_a_class_without_a_name_is_not_a_bare_number(stamped_video: Path) -> None:
    unnamed = replace(
        predictions([0, 0, 2, 2, 2, 2]), class_names=["0", "run", "2"], paths=6 * [str(stamped_video)]
    )
    page = render_report(Report("", "", [Result("test", unnamed)], strips=1))
    heads = re.findall(r'<th scope="(?:col|row)">([^<]*)</th>', page)
    assert {"class 0", "run", "class 2"} <= set(heads)
    assert not any(head.isdigit() for head in heads)
    assert '<strong>run</strong> predicted as\n        <span class="wrong">class 2</span>' in page
    assert "true class run, predicted class 2" in page  # in words, for those who do not see the frames
    assert ">2</span>" not in page.replace("<span>2</span>", "")


def test_a_report_of_one_test_has_no_empty_sections() -> None:
    page = render_report(Report("Alone", "", [Result("test", predictions([0] * 6))]))
    assert "Training</h2>" not in page
    assert "attention" not in page
    assert "all views of all videos were decoded and scored" in page


def test_metrics_of_unequal_classes_are_shown_with_their_intervals(page: str) -> None:
    text = re.sub(r"\s+", " ", page)
    assert re.search(r"<th scope=.row.>whole video</th> <td>83.3 % \(\d+.\d – 100.0\)</td>", text)


def test_intervals_are_over_groups_where_there_are_some() -> None:
    grouped = replace(predictions([0, 0, 2, 2, 2, 2]), groups=("a", "a", "b", "b", "c", "c"))
    result = Result("grouped", grouped)
    alone = Result("alone", replace(grouped, groups=()))
    assert result.interval[0] < alone.interval[0]  # each group is all right or all wrong
    assert "over 3 groups of videos" in re.sub(r"\s+", " ", render_report(Report("", "", [result])))


def test_charts_have_the_colors_of_light_and_dark_mode(page: str) -> None:
    """All colours in the charts are CSS variables, which the page defines once for each mode."""
    charts = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(charts) == 4  # two charts of curves, the bars of a filmstrip, the reliability
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b", "".join(charts).replace('xlink:href="#', ""))
    style = page[: page.index("</style>")]
    for variable in {name for chart in charts for name in re.findall(r"var\((--\w+)\)", chart)}:
        assert style.count(f"{variable}:") == 2, variable


def test_a_filmstrip_is_a_small_jpeg_of_frames_from_the_full_video(stamped_video: Path) -> None:
    image, seconds = cut_filmstrip(str(stamped_video), 8)
    assert image[:3] == b"\xff\xd8\xff"
    assert len(image) < 60_000
    assert seconds[0] == 0
    assert seconds[-1] == pytest.approx(59 / 25)
    assert len(seconds) == 8


@pytest.mark.parametrize("size", [(1000, 2), (2, 1000)])
def test_very_narrow_and_very_wide_videos_have_a_filmstrip(tmp_path: Path, size: tuple[int, int]) -> None:
    """Scaled to the height of a strip, one has a width of less than a pixel, the other more than a file."""
    path = tmp_path / "video.mp4"
    write_video(path, [np.full((*size, 3), 128, np.uint8)] * 4, size=size, codec="mpeg4")
    image, seconds = cut_filmstrip(str(path), 4)
    strip = Image.open(io.BytesIO(image))
    assert len(seconds) == 4
    assert strip.height == FRAME_HEIGHT
    assert strip.width >= 4
