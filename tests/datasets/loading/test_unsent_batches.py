"""Batches that a worker cannot send: the run ends with the reason instead of a restart of the worker."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from slowfast.datasets.loading.quarantine import Quarantine
from slowfast.datasets.loading.workers import WorkerPool

ERRORS = {
    "an OSError": OSError(errno.EIO, "Input/output error"),
    "a RuntimeError": RuntimeError("no storage of this tensor"),
    "a TypeError": TypeError("a generator"),
}


class Numbers:
    """A data set whose items are their own numbers."""

    def __init__(self) -> None:
        self.quarantine = Quarantine(4)

    @property
    def paths(self) -> Sequence[str]:
        return [str(number) for number in range(4)]

    def find_same_file(self, video_id: int) -> NDArray[np.int64]:
        return np.array([video_id])

    def __getitem__(self, item: int) -> int:
        return item


class Unsendable:
    """A batch that raises an error while it is pickled."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __reduce__(self) -> str:
        raise self._error


@pytest.mark.parametrize("name", ERRORS)
def test_the_error_of_a_batch_that_cannot_be_sent_is_raised(name: str) -> None:
    error = ERRORS[name]
    pool = WorkerPool(Numbers(), lambda items: Unsendable(error), num_workers=1, sample_timeout=0)
    with pytest.raises(RuntimeError, match=f"a batch cannot be sent from its worker: .*{error.args[-1]}"):
        list(pool.run([[0], [1]]))
