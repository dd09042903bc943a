"""Results of tasks on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slowfast.probe.tasks import ResultFiles, Task
from slowfast.probe.training import Trained

TASK = Task("majority class", 0)


@pytest.fixture
def files(tmp_path: Path) -> ResultFiles:
    files = ResultFiles(tmp_path)
    files.write(TASK, Trained(np.ones((4, 2), np.float32), (0.5, 0.25), 1.5))
    return files


def test_a_result_is_read_as_it_was_written(files: ResultFiles) -> None:
    result = files.read(TASK)
    assert result is not None
    assert result.scores.tolist() == [[1.0, 1.0]] * 4
    assert (result.losses, result.seconds) == ((0.5, 0.25), 1.5)
    assert files.read(Task("majority class", 1)) is None


def test_a_damaged_result_is_one_that_is_not_finished(files: ResultFiles, tmp_path: Path) -> None:
    path = tmp_path / TASK.file_name
    intact = path.read_bytes()
    rng = np.random.default_rng(0)
    contents = [b"", intact[:80], intact[: len(intact) // 2], intact[:-30], b"text" * 100]
    for position in rng.integers(len(intact), size=300):
        contents.append(intact[:position] + rng.bytes(8) + intact[position + 8 :])
    np.save(tmp_path / "array.npy", np.ones(3))
    contents.append((tmp_path / "array.npy").read_bytes())
    for content in contents:
        path.write_bytes(content)
        result = files.read(TASK)
        assert result is None or result.scores.tolist() == [[1.0, 1.0]] * 4
