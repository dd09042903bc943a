"""The report is one file: it shows the figures it was given and loads nothing."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from slowfast.datasets.clip import BrokenVideo
from slowfast.engine.prediction_file import Predictions
from slowfast.visualization.filmstrip import Filmstrip, cut_filmstrip
from slowfast.visualization.report import (
    Report,
    Result,
    read_curves,
    render_report,
    wilson_interval,
    write_report,
)

NAMES = ["walk", "run <fast>", "jump"]


def predictions(guesses: list[int], *, broken: tuple[BrokenVideo, ...] = ()) -> Predictions:
    """Six videos, two of each class, with these predicted classes."""
    return Predictions(
        video_ids=np.arange(6),
        paths=[f"{i}.mp4" for i in range(6)],
        labels=np.arange(6) // 2,
        scores=np.eye(3, dtype=np.float32)[guesses],
        num_views=np.full(6, 4),
        class_names=NAMES,
        broken=broken,
        meta={"seconds_per_video": 0.25},
    )


@pytest.fixture
def curves_folder(tmp_path: Path) -> Path:
    lines = [
        {"_type": "train_iter", "epochs_done": 0.5, "loss": 2.0, "top1_err": 90.0},
        {"_type": "val_epoch", "epoch": 1, "loss": 1.5, "top1_err": 70.0},
        {"_type": "val_epoch", "epoch": 2, "loss": None, "top1_err": 60.0},
        {"_type": "val_epoch", "epoch": 1, "loss": 1.0, "top1_err": 50.0},  # a resumed run, epoch 1 again
        {"_type": "test_final", "top1_err": 1.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


@pytest.fixture
def page(curves_folder: Path, stamped_video: Path) -> str:
    picture, seconds = cut_filmstrip(str(stamped_video), 8)
    broken = (BrokenVideo(7, "bad&ugly.mp4", "truncated", "no moov"),)
    report = Report(
        title="A report",
        summary="What it is about.",
        results=[
            Result("whole video", predictions([0, 0, 1, 2, 2, 2], broken=broken), "one pass"),
            Result("shuffled", predictions([0, 1, 2, 0, 1, 2])),
        ],
        curves={"VTN": read_curves(curves_folder)},
        filmstrips=[Filmstrip("0.mp4", "walk", "jump", 0.9, picture, seconds, [0.125] * 8)],
        config="MODEL:\n  NAME: <none>\n",
        timings=[("train", 75.0)],
        packages=["pytest", "not-installed"],
    )
    path = curves_folder / "report.html"
    write_report(path, report)
    return path.read_text(encoding="utf-8")


class _Page(HTMLParser):
    """Collects what a page would load, and what it lacks for those who do not see it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.unnamed: list[str] = []
        self.headless_tables = 0
        self._in_table = False
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.loads += [str(values[name]) for name in ("src", "href", "srcset", "data") if name in values]
        if (tag == "img" and not values.get("alt")) or (tag == "svg" and not values.get("aria-label")):
            self.unnamed.append(tag)
        if tag == "th" and "scope" not in values:
            self.unnamed.append(tag)


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    parsed = _Page(page)
    assert parsed.loads
    assert all(address.startswith("data:") for address in parsed.loads)
    assert not re.search(r"https?://|@import|url\(", page)
    assert "script" not in parsed.tags
    assert len(page) < 3_000_000


def test_pictures_and_tables_are_described(page: str) -> None:
    parsed = _Page(page)
    assert parsed.unnamed == []
    assert parsed.tags.count("table") == parsed.tags.count("caption")
    assert 'lang="en"' in page


def test_figures_are_shown(page: str) -> None:
    assert "83.3 %" in page
    assert "33.3 %" in page
    assert "250.0 ms" in page
    assert "taken for jump" in page
    assert "1 min 15 s" in page
    assert pytest.__version__ in page
    assert "not-installed" not in page


def test_text_is_escaped(page: str) -> None:
    assert "run &lt;fast&gt;" in page
    assert "bad&amp;ugly.mp4" in page
    assert "no moov" in page
    assert "NAME: &lt;none&gt;" in page
    assert "<fast>" not in page


def test_a_report_of_one_test_has_no_empty_sections() -> None:
    page = render_report(Report("Alone", "", [Result("test", predictions([0] * 6))]))
    assert "Training</h2>" not in page
    assert "attention" not in page
    assert "every test video was decoded" in page


def test_the_later_figures_of_an_epoch_count(curves_folder: Path) -> None:
    curves = read_curves(curves_folder)
    assert curves.train_loss == [(0.5, 2.0)]
    assert curves.val_loss == [(1.0, 1.0)]
    assert curves.val_top1 == [(1.0, 50.0), (2.0, 40.0)]


def test_filmstrip_is_a_small_jpeg_of_the_whole_video(stamped_video: Path) -> None:
    picture, seconds = cut_filmstrip(str(stamped_video), 8)
    assert picture[:3] == b"\xff\xd8\xff"
    assert len(picture) < 60_000
    assert seconds[0] == 0
    assert seconds[-1] == pytest.approx(59 / 25)
    assert len(seconds) == 8


def test_wilson_interval_of_the_literature() -> None:
    """81 of 263: Newcombe, Statistics in Medicine 17 (1998), table I."""
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0.0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson_interval(0.0, 0) == (0.0, 1.0)
