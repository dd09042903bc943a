"""The simulated GPU as a fixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.support.simulation.gpu import simulated_gpu


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    """Returns a GPU that is simulated during the test."""
    with simulated_gpu() as device:
        yield device
