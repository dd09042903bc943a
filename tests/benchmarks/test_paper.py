"""The benchmark of the paper's comparison: sizes of the real models, and a complete run with small ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import paper
from benchmarks.measure import Timing
from benchmarks.support.encoded_clips import make_clip
from benchmarks.support.paper_models import CANDIDATES, OURS, THEIRS, Candidate, Published
from slowfast.analysis.flops import views_of_test
from slowfast.models import build_model
from slowfast.models.complexity import clip_complexity, count_parameters
from tests.support.code.command_line import parse

SMALL = {
    OURS: Candidate(
        "QUICKSTART", Published(1.0, None, 1, 2, "here"), ("TRAIN.EVAL_NUM_FRAMES", "24")
    ),
    THEIRS: Candidate(
        "C2D_8x8_R50",
        Published(None, 3.0, 4, 10, "here"),
        (
            "RESNET.WIDTH_PER_GROUP", "8", "DATA.TRAIN_CROP_SIZE", "32", "DATA.TEST_CROP_SIZE", "32",
            "TEST.NUM_ENSEMBLE_VIEWS", "2", "TEST.NUM_SPATIAL_CROPS", "2", "TRAIN.BATCH_SIZE", "2",
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ["ViT-B-VTN", "ViT-B-VTN-1", "SlowFast-R101-NL"])
def test_sizes_are_the_published_ones(name: str) -> None:
    """Parameters differ by at most 1 %, multiply-adds by 1 % for VTN and by 3 % for the 3D network."""
    candidate, published = CANDIDATES[name], CANDIDATES[name].published
    cfg = candidate.load()
    frames, views = views_of_test(cfg)
    assert views == published.views
    with torch.device("meta"):
        model = build_model(cfg, fetch_weights=False)
    assert count_parameters(model) / 1e6 == pytest.approx(published.parameters, rel=0.01)
    if published.gmacs is not None:
        macs = clip_complexity(model, frames, cfg.DATA.TEST_CROP_SIZE).total
        ours = name.startswith("ViT")
        assert macs.weights / 1e9 == pytest.approx(published.gmacs, rel=0.01 if ours else 0.03)


@pytest.mark.parametrize("name", CANDIDATES)
def test_views_of_the_test_are_the_published_ones(name: str) -> None:
    candidate = CANDIDATES[name]
    assert views_of_test(candidate.load())[1] == candidate.published.views


def test_a_complete_run_reports_all_columns_and_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "CANDIDATES", SMALL)
    sizes: list[tuple[int, int]] = []

    def make(folder: Path, size: tuple[int, int], num_frames: int, gop: int) -> Path:
        sizes.append(size)
        return make_clip(folder, size, num_frames, gop)

    monkeypatch.setattr(paper, "make_clip", make)
    report = paper.run(parse(paper, "--threads", "1", "--models", *SMALL, "--rounds", "1", "--steps", "1"))
    assert sizes == [(256, 340)]  # height and width
    ours, theirs = report.rows
    assert (ours["views"], theirs["views"]) == (1, 4)
    assert theirs["total GMACs"] == pytest.approx(4 * theirs["with attention"])
    for row in report.rows:
        assert row["s/video all"] == pytest.approx(row["s/video"] + row["s decode"])
        assert row["h/epoch"] == pytest.approx(row["s/step"] * 240_000 / 3600)
    inference, training = report.notes[-2:]
    assert "5.1" in inference
    ratio = theirs["s/step"] / ours["s/step"]
    assert f"with 10 epochs and 2, as published, {ratio * 5:.1f} times (the paper: 16.1)" in training


def test_the_time_of_a_long_view_is_scaled_from_the_timed_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 of 24 frames take 5 seconds, 1 of them for the encoder: 4 × 24 / 16 + 1 = 7 seconds for the view."""
    cfg = SMALL[OURS].load()
    model = build_model(cfg, fetch_weights=False)
    encoder = {"": Timing((1.0,))}
    monkeypatch.setattr(paper, "time_interleaved", lambda calls: encoder)
    args = parse(paper, "--threads", "1")
    assert paper.video_seconds(Timing((5.0,)), model, cfg, args).seconds == (7.0,)
    args.all_frames = True
    assert paper.video_seconds(Timing((5.0,)), model, cfg, args).seconds == (5.0,)
