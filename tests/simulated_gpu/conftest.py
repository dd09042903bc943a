"""The simulated GPU as a fixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.support.simulation.gpu import simulated_gpu


@pytest.fixture
def gpu(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Returns a GPU that is simulated during the test, of the kind ``request.param``, by default of CUDA.

    Runs on a GPU set the precision of products, which is restored.
    """
    precision, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with simulated_gpu(getattr(request, "param", "cuda")) as device:
        yield device
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = convolutions
