"""Tests that need a GPU: all of this folder are marked ``gpu``, and skipped with the reason without one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from slowfast.distributed.device import accelerator, choose_device, count_accelerators, exact_products, is_cpu
from slowfast.errors import first_line
from tests.support.golden_cases import Golden, load_golden

# For the deterministic runs. Torch reads it once, at the first matrix product of the process. The workspace
# has the size of an H100's own.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = pytest.mark.skip(reason="needs a GPU; this machine has none that torch can use")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if is_cpu(choose_device(1)):
                item.add_marker(missing)


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Returns the first GPU."""
    return choose_device(1)


@pytest.fixture
def two_gpus() -> list[torch.device]:
    """Returns two GPUs; the test is skipped where there is one."""
    if (count := count_accelerators()) < 2:
        pytest.skip(f"needs two GPUs; this machine has {count}")
    return [accelerator(0), accelerator(1)]


@pytest.fixture
def exact_float32(device: torch.device) -> Iterator[None]:
    """Forbids TensorFloat32 in matrix products and convolutions during a test."""
    with exact_products(device):
        yield


@pytest.fixture(scope="session")
def compiler(device: torch.device) -> None:
    """Skips a test where torch.compile works for nothing: it needs a C compiler and the headers of Python."""
    try:
        torch.compile(lambda x: x.sin() * 2)(torch.ones(8, device=device))
    except Exception as error:  # torch.compile raises errors of many libraries
        pytest.skip(f"needs torch.compile, which does not work here: {first_line(error)}")


@pytest.fixture(scope="session")
def golden() -> Golden:
    """Returns the golden outputs of the original VTN."""
    return load_golden()
