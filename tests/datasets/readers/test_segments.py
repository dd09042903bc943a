"""Segments of videos, given by their start and end in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from slowfast.datasets.build import build_dataset
from slowfast.errors import ConfigError
from tests.support.reading.data_sets import lay_out, reader_config, stamps_of
from tests.support.videos import stamp, write_video


def test_a_segment_is_read_as_the_video_cut_out(tmp_path: Path) -> None:
    """Compares frames 10 to 19 of a file with a file of only these frames."""
    write_video(tmp_path / "long.mp4", 40, bf="2")
    write_video(tmp_path / "cut.mp4", [stamp(i) for i in range(10, 20)])
    lay_out(
        tmp_path, {"val.csv": "path label start end\nlong.mp4 1 0.4 0.8\ncut.mp4 1 0 9\nlong.mp4 1 1.6 9\n"}
    )
    dataset = build_dataset(reader_config(tmp_path, "kinetics"), "val")
    part, cut, outside = (dataset[i] for i in range(3))
    assert stamps_of(part) == stamps_of(cut) == list(range(10, 20))
    assert torch.equal(part.positions, cut.positions)
    assert (outside.reason, outside.detail) == (
        "segment outside",
        "starts at 1.6 s, but the video ends at 1.600 s",
    )


def test_original_semantics_refuse_segments(tmp_path: Path) -> None:
    lay_out(tmp_path, {"val.csv": "path label start end\na.mp4 1 0 1\n"})
    cfg = reader_config(tmp_path, "kinetics")
    cfg.DATA.ORIGINAL_SEMANTICS = True
    with pytest.raises(ConfigError, match=r"ORIGINAL_SEMANTICS = True: .*set it to False"):
        build_dataset(cfg, "val")
