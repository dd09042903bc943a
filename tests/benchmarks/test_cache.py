"""The benchmark of reading caches of several tokens per frame: it reads what it has written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import cache
from benchmarks.support import token_caches
from slowfast.datasets.views.view_reader import WholeVideoViews
from tests.support.code.command_line import parse

SHAPE = (4, 8)


@pytest.fixture
def small(tmp_path: Path) -> token_caches.TokenCache:
    return token_caches.write_cache(tmp_path / "cache", SHAPE, 0)


def test_the_reader_returns_the_rows_of_the_files(small: token_caches.TokenCache) -> None:
    reader = small.reader(
        WholeVideoViews(
            num_frames=0,
            target_fps=token_caches.FPS,
            short_side=token_caches.SIDE,
            crop_size=token_caches.SIDE,
        )
    )
    rng = np.random.default_rng(0)
    assert len(small.paths) == 2
    for path, file in zip(small.paths, small.files, strict=True):
        features, positions = reader.read(path, 0, 0, rng)
        torch.testing.assert_close(features, torch.from_numpy(np.load(file)), rtol=0, atol=0)
        assert positions.tolist() == list(range(token_caches.ROWS))
        plain = np.fromfile(file, np.float16, offset=token_caches._HEADER_BYTES)
        assert plain.tobytes() == features.numpy().tobytes()


def test_the_part_has_its_columns_only(
    small: token_caches.TokenCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "write_cache", lambda folder, shape, megabytes: small)
    report = cache.run(parse(cache, "--parts", "grids", "--threads", "1"))
    assert report.columns == list(cache.READING_COLUMNS)
    for row in report.rows:
        assert row.keys() == set(cache.READING_COLUMNS)
        speed = row["whole: rows/s"] * small.row_bytes / 1e6
        assert row["whole: MB/s"] == pytest.approx(speed)
        assert min(row["whole: of plain"], row["clips: of plain"]) > 0
