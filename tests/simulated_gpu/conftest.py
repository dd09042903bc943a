"""The simulated GPU as a fixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.support.simulation.gpu import simulated_gpu


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    """Returns a GPU that is simulated during the test; runs on a GPU set the precision of products."""
    precision, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with simulated_gpu() as device:
        yield device
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = convolutions
