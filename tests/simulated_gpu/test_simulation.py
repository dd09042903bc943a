"""The simulated GPU refuses what a real one refuses, and computes what the CPU computes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn


@pytest.mark.parametrize(
    "call",
    [
        lambda on_gpu: on_gpu + torch.ones(4),
        lambda on_gpu: torch.cat([on_gpu, torch.ones(1)]),
        lambda on_gpu: torch.where(torch.ones(4, dtype=torch.bool), on_gpu, 0),
        lambda on_gpu: nn.functional.linear(on_gpu, torch.ones(2, 4)),
        lambda on_gpu: on_gpu.add_(torch.arange(4)),
        lambda on_gpu: torch.ones(4).masked_fill(on_gpu > 0, 0),
        lambda on_gpu: torch.randn(4, device=on_gpu.device, generator=torch.Generator()),
    ],
)
def test_devices_must_not_be_mixed(gpu: torch.device, call: object) -> None:
    with pytest.raises(RuntimeError, match=r"same device|for generator"):
        call(torch.arange(4.0).to(gpu))  # type: ignore[operator]


def test_numpy_needs_a_copy_in_host_memory(gpu: torch.device) -> None:
    on_gpu = torch.arange(3.0, device=gpu)
    with pytest.raises((RuntimeError, TypeError)):
        on_gpu.numpy()
    with pytest.raises((RuntimeError, TypeError)):
        np.asarray(on_gpu)
    assert on_gpu.cpu().numpy().tolist() == on_gpu.tolist() == [0, 1, 2]


def test_numbers_and_indices_may_be_of_the_cpu(gpu: torch.device) -> None:
    on_gpu = torch.arange(4.0).to(gpu)
    assert (on_gpu * torch.tensor(2.0))[torch.tensor([3, 1])].tolist() == [6, 2]
    assert on_gpu.device == torch.zeros(1, device=gpu).device == torch.tensor([1], device=gpu).device == gpu


def test_training_changes_the_weights_as_on_the_cpu(gpu: torch.device) -> None:
    torch.manual_seed(0)
    network, inputs = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.GELU()), torch.randn(5, 4)
    results: list[list[Tensor]] = []
    for place in (torch.device("cpu"), gpu):
        trained = copy.deepcopy(network).to(place)
        optimizer = torch.optim.AdamW(trained.parameters(), lr=0.1, fused=True)
        for _ in range(2):
            optimizer.zero_grad()
            trained(inputs.to(place)).square().sum().backward()
            optimizer.step()
        assert {value.device for value in trained.state_dict().values()} == {place}
        results.append([value.cpu() for value in trained.state_dict().values()])
    torch.testing.assert_close(results[1], results[0])
