"""The times that the host waits for a GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from slowfast.datasets.clip import Normalization
from slowfast.engine.evaluate import ViewScorer, _Scores
from slowfast.models.losses import cross_entropy
from slowfast.models.precision import Precision
from slowfast.models.score_activations import softmax
from slowfast.probe.training import to_device
from tests.support.simulation.gpu import SimulatedTensor
from tests.support.tiny import CLASSES, Tiny
from tests.support.training.steps import random_batch


class Waits(TorchDispatchMode):
    """Lists the operations that bring values of a GPU to the host, or copy to it while the host waits."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        from_gpu, to_gpu = (isinstance(value, SimulatedTensor) for value in (args[0], result))
        is_download = from_gpu and not to_gpu and not isinstance(result, list)  # lists are views
        is_upload = to_gpu and not from_gpu and isinstance(args[0], Tensor)
        if is_download or (is_upload and not (kwargs or {}).get("non_blocking")):
            self.found.append(str(func))
        return result


def test_an_evaluation_waits_once_per_batch(gpu: torch.device) -> None:
    scorer = ViewScorer(
        model=Tiny().to(gpu).eval(),
        activation=softmax,
        normalization=Normalization((0.5,) * 3, (0.5,) * 3),
        loss=cross_entropy,
        device=gpu,
        precision=Precision(),
    )
    batch, scores = random_batch(4, num_frames=4, size=32, num_classes=CLASSES), _Scores("sum")
    with torch.no_grad(), Waits() as waits:
        scorer.score(batch, into=scores)
    assert len(scores.merged) == scores.num_scored == 4
    assert waits.found == ["aten._to_copy.default"]


def test_the_clips_of_a_probe_are_copied_without_waiting(gpu: torch.device) -> None:
    features, positions, mask = torch.rand(2, 3, 4), torch.arange(3).repeat(2, 1), torch.ones(2, 3) > 0
    with Waits() as waits:
        found = to_device((features, positions, mask), gpu)
        assert to_device((features, positions, None), gpu)[2] is None
    assert [value is not None and value.device for value in found] == [gpu] * 3
    assert waits.found == []
