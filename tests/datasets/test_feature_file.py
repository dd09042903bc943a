"""Features on the disk: an ordinary array at every moment, taken over only where they are the same."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from slowfast.datasets.feature_file import FeatureFile
from slowfast.errors import DataError

WHAT = {"video": {"name": "a.mp4", "bytes": 7}, "fps": 5.0}


def rows(first: int, end: int) -> torch.Tensor:
    """Features (end − first, 4) that tell their frames."""
    return torch.arange(first, end)[:, None] + torch.arange(4) / 10


def write(path: Path, *parts: torch.Tensor) -> None:
    with FeatureFile(path, 4, WHAT) as file:
        for part in parts:
            file.append(part)


def test_is_an_ordinary_array_after_each_part(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.npy"
    with FeatureFile(path, 4, WHAT) as file:
        assert file.features().shape == (0, 4)
        file.append(rows(0, 3))
        np.testing.assert_array_equal(np.load(path), rows(0, 3))
        file.append(rows(3, 1000).to(torch.float64))
        np.testing.assert_array_equal(np.load(path, mmap_mode="r"), rows(0, 1000))
        assert torch.equal(file.features(), rows(0, 1000))


def test_what_is_there_is_gone_on_with(tmp_path: Path) -> None:
    write(tmp_path / "a.npy", rows(0, 3))
    with FeatureFile(tmp_path / "a.npy", 4, WHAT) as file:
        assert file.count == 3
        file.append(rows(3, 5))
        assert torch.equal(file.features(), rows(0, 5))


def test_another_description_begins_anew_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "a.npy", rows(0, 3))
    with (
        caplog.at_level(logging.WARNING),
        FeatureFile(tmp_path / "a.npy", 4, {**WHAT, "fps": 1.0}) as file,
    ):
        assert file.count == 0
        file.append(rows(7, 9))
    assert "fps was 5.0 and is 1.0" in caplog.text
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows(7, 9))


def test_without_its_description_it_is_not_trusted(tmp_path: Path) -> None:
    write(tmp_path / "a.npy", rows(0, 3))
    (tmp_path / "a.json").write_text('{"video": ')
    with FeatureFile(tmp_path / "a.npy", 4, WHAT) as file:
        assert file.count == 0


@pytest.mark.parametrize("lost", [0, 1, 16, 17, 47, 48])
def test_a_power_cut_costs_the_rows_that_were_not_counted(tmp_path: Path, lost: int) -> None:
    """Bytes beyond what the header counts are written over; rows that the disk lost are made again."""
    path = tmp_path / "a.npy"
    write(path, rows(0, 3))
    with path.open("ab") as file:
        file.write(b"half of a row")
    os.truncate(path, path.stat().st_size - len(b"half of a row") - lost)
    with FeatureFile(path, 4, WHAT) as again:
        assert again.count == (48 - lost) // 16
        again.append(rows(again.count, 6))
    np.testing.assert_array_equal(np.load(path), rows(0, 6))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array at all" * 100])
def test_what_is_no_array_is_written_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    write(tmp_path / "a.npy", rows(0, 2))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows(0, 2))


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    with (
        FeatureFile(tmp_path / "a.npy", 4, WHAT),
        pytest.raises(DataError, match="another process"),
    ):
        FeatureFile(tmp_path / "a.npy", 4, WHAT)
    write(tmp_path / "a.npy")
