"""Warnings at the start of a run."""

from __future__ import annotations

import pytest

from slowfast.engine.run import crowded_cores


@pytest.mark.parametrize(
    ("num_workers", "processes", "cores", "better"),
    [
        (4, 1, 4, None),
        (8, 1, 4, 4),
        (4, 2, 4, 2),
        (2, 2, 5, None),
        (1, 4, 2, None),  # no process can have fewer workers
        (2, 4, 2, 1),
        (2, 1, 1, 1),
        (0, 8, 1, None),
    ],
)
def test_the_warning_about_workers_names_a_smaller_number(
    num_workers: int, processes: int, cores: int, better: int | None
) -> None:
    warning = crowded_cores(num_workers, processes, cores)
    if better is None:
        assert warning == ""
    else:
        assert better < num_workers
        node = "this node has 1 core;" if cores == 1 else f"this node has {cores} cores;"
        assert f"NUM_WORKERS is {num_workers} for each process, but {node}" in warning
        assert f"; {better} would be faster" in warning
