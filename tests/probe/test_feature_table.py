"""Clips of features in memory: the same rows as the data set reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode

from slowfast.config import load_config
from slowfast.datasets.build import build_dataset
from slowfast.errors import ConfigError, DataError
from slowfast.probe import feature_table
from slowfast.probe.feature_table import concatenate, load_table, plan_clips
from tests.support.probing.feature_files import FPS, ROWS, WIDTH, write_ordered_videos
from tests.support.tiny import tiny_config


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    write_ordered_videos(tmp_path, num_videos=6, test_videos=2)
    keys = [
        "TRAIN.DATASET", "features", "TEST.DATASET", "features", "DATA.FEATURES_FPS", str(FPS),
        "DATA.TARGET_FPS", str(FPS), "DATA.PATH_TO_DATA_DIR", str(tmp_path), "DATA.INTERPOLATION", "bilinear",
        "DATA.NUM_FRAMES", "5", "DATA.SAMPLING_RATE", "2", "TRAIN.EVAL_NUM_FRAMES", "7",
        "MODEL.NUM_CLASSES", "2", "VTN.BACKBONE.TOKENS", "[1, 1]",
    ]  # fmt: skip
    return load_config("PRETRAINED_DEMO", keys)


@pytest.mark.parametrize("rate", [None, 25.0])
def test_the_clip_of_validation_is_the_one_that_the_data_set_reads(cfg: CfgNode, rate: float | None) -> None:
    table = load_table(build_dataset(cfg, "train"))
    assert table.row_shape == (WIDTH,)
    features, positions, mask = plan_clips(cfg, table, rate, "val").clips(table, torch.tensor([4, 1]))
    assert mask is None
    lists = Path(cfg.DATA.PATH_TO_DATA_DIR)
    (lists / "val.csv").write_text((lists / "train.csv").read_text())
    dataset = build_dataset(cfg, "val", position_rate=rate)
    for row, video in enumerate((4, 1)):
        clip = dataset[video]
        torch.testing.assert_close(features[row], clip.features)
        assert positions[row].tolist() == clip.positions.tolist()


def test_training_clips_are_rows_of_their_video(cfg: CfgNode) -> None:
    table = load_table(build_dataset(cfg, "train"))
    plan = plan_clips(cfg, table, None, "train")
    videos = torch.arange(6)
    starts = set()
    for draw in range(feature_table.DRAWS):
        features, positions, _ = plan.clips(table, videos, torch.full((6,), draw))
        for video in range(6):
            torch.testing.assert_close(features[video], table.video(video)[positions[video]])
            starts.add(int(positions[video][0]))
    assert len(starts) > 1  # clips are random


def test_shorter_clips_are_masked(cfg: CfgNode, tmp_path: Path) -> None:
    np.save(tmp_path / "p0_0.npy", np.ones((3, WIDTH), np.float32))
    table = load_table(build_dataset(cfg, "train"))
    plan = plan_clips(cfg, table, None, "val")
    _, _, mask = plan.clips(table, torch.tensor([0, 1]))
    assert mask is not None
    assert mask.sum(dim=1).tolist() == [3, 7]
    features, _, _ = plan.clips(table, torch.tensor([0]))
    assert features.shape == (1, 3, WIDTH)  # padding that no clip of the batch needs is left out


def test_several_tables_become_one(cfg: CfgNode) -> None:
    tables = [load_table(build_dataset(cfg, "train"), part) for part in ([0, 2], [3])]
    together = concatenate(tables)
    assert len(together) == 3
    assert together.labels.tolist() == [0, 0, 1]
    torch.testing.assert_close(together.video(2), tables[1].video(0))
    assert together.video(0).shape == (ROWS, WIDTH)


def test_broken_files_are_left_out_and_features_of_no_video_are_an_error(
    cfg: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "p0_1.npy").write_bytes(b"damaged")
    table = load_table(build_dataset(cfg, "train"))
    assert len(table) == 5
    with pytest.raises(DataError, match="the features of no video can be read"):
        load_table(build_dataset(cfg, "train"), [1])


def test_a_segment_after_the_end_of_its_file_is_left_out(
    cfg: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [line.split() for line in (tmp_path / "train.csv").read_text().splitlines()]
    listed = [f"{path},{label},0.2,{50 if number else 0.8}" for number, (path, label) in enumerate(lines)]
    late = f"{lines[0][0]},{lines[0][1]},50,51"
    (tmp_path / "train.csv").write_text("\n".join(["path,label,start,end", *listed, late]) + "\n")
    cfg.merge_from_list(["DATA.PATH_LABEL_SEPARATOR", ","])
    table = load_table(build_dataset(cfg, "train"))
    assert len(table) == len(lines)
    assert table.video(0).shape == (6, WIDTH)
    assert plan_clips(cfg, table, None, "val").rows.shape[1] == len(lines)
    assert "p0_0.npy: segment outside (starts at 50 s, but the video ends at 1.200 s)" in caplog.text


def test_rows_of_frames_that_cannot_be_decoded_are_left_out(
    cfg: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In a file of features NaN stands for such a frame; the others keep their times and positions."""
    features = np.load(tmp_path / "p0_1.npy")
    features[[0, 4, 5]] = np.nan
    np.save(tmp_path / "p0_1.npy", features)
    cfg.merge_from_list(["TRAIN.EVAL_NUM_FRAMES", 0])
    table = load_table(build_dataset(cfg, "train"))
    assert torch.isfinite(table.rows).all()
    known = [1, 2, 3, 6, 7, 8, 9, 10, 11]
    torch.testing.assert_close(table.video(1), torch.from_numpy(features[known]))
    clip, positions, _ = plan_clips(cfg, table, None, "val").clips(table, torch.tensor([1]))
    torch.testing.assert_close(clip[0], torch.from_numpy(features[known]))
    assert (positions[0] - positions[0, 0]).tolist() == [row - 1 for row in known]
    assert "3 rows of 1 of 6 videos, which are NaN since their frames could not be decoded" in caplog.text


@pytest.mark.parametrize(
    ("rows", "value", "detail"),
    [
        (slice(None), np.nan, "no frame can be decoded"),
        ((3, 2), np.nan, "NaN or infinite values in row 3"),
        ((5, 1), np.inf, "NaN or infinite values in row 5"),
    ],
)
def test_videos_of_features_that_are_not_finite_are_left_out(
    cfg: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture, rows: Any, value: float, detail: str
) -> None:
    features = np.load(tmp_path / "p0_1.npy")
    features[rows] = value
    np.save(tmp_path / "p0_1.npy", features)
    table = load_table(build_dataset(cfg, "train"))
    assert len(table) == 5
    assert f"{tmp_path}/p0_1.npy: " in caplog.text
    assert detail in caplog.text


def test_files_of_another_width_are_refused_by_name(cfg: CfgNode, tmp_path: Path) -> None:
    np.save(tmp_path / "p0_1.npy", np.ones((ROWS, 4), np.float32))
    dataset = build_dataset(cfg, "train")
    message = r"p0_1\.npy: has rows of shape \(4,\), and .*p0_0\.npy has \(8,\)"
    with pytest.raises(DataError, match=message):
        load_table(dataset)
    with pytest.raises(DataError, match=message):
        concatenate([load_table(dataset, [0]), load_table(dataset, [1])])


def test_videos_without_features_are_refused(small_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"DATA\.FEATURES = '': must be set for a probe"):
        load_table(build_dataset(tiny_config(small_dataset, tmp_path), "train"))


def test_features_larger_than_the_memory_are_refused(cfg: CfgNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_table, "_MAX_MEMORY", 1e-12)
    with pytest.raises(DataError, match=r"probe fewer videos \(--limit N\)"):
        load_table(build_dataset(cfg, "train"))
