"""The host waits for the device once per step: a GPU idles whenever its queue has run empty meanwhile.

Counted on the CPU: every call that hands a value of a tensor to Python, or a value of Python to a tensor of a
device, would wait on a GPU. ``Tensor.is_cpu`` is False here, so that the code for GPUs runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from slowfast.datasets.clip import normalize
from slowfast.datasets.views.mixing import BatchMixer
from slowfast.errors import InputError
from slowfast.models.losses import soft_cross_entropy
from tests.support.tiny_models import FEATURE_DIM, SIZE, tiny, tiny_average, tiny_probe
from tests.support.training.steps import full_step_of, random_batch

aten = torch.ops.aten
READS = {aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default, aten.is_nonzero.default}
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}
PYTHON_READS = {Tensor.tolist, Tensor.item, Tensor.cpu, Tensor.numpy}

CLIPS: Any = {"num_frames": 6, "size": SIZE, "num_classes": 5}


class _Operators(TorchDispatchMode):
    def __init__(self, waits: list[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        masks = [i for i in args[1] if i is not None and i.dtype == torch.bool] if func in INDEXING else []
        if func in READS or masks:
            self.waits.append(str(func))
        return func(*args, **(kwargs or {}))


class _Functions(TorchFunctionMode):
    def __init__(self, waits: list[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # A device that is written out is the host's; that of another tensor may be any.
        device = (kwargs or {}).get("device")
        uploads = func in (torch.tensor, torch.as_tensor) and device not in (None, "cpu")
        by_list = func is Tensor.__getitem__ and isinstance(args[1], list)
        if func in PYTHON_READS or uploads or by_list:
            self.waits.append(func.__name__)
            with torch._C.DisableTorchFunction():
                return func(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


@contextmanager
def counting_waits() -> Iterator[list[str]]:
    waits: list[str] = []
    with pytest.MonkeyPatch.context() as patch, _Functions(waits), _Operators(waits):
        patch.setattr(torch.Tensor, "is_cpu", property(lambda tensor: False), raising=False)
        yield waits


def test_the_counter_sees_what_waits() -> None:
    x, mask = torch.arange(4.0), torch.tensor([True, False, True, True])
    with counting_waits() as waits:
        _ = bool(x.min() < 0), x[mask], x[[0, 1]], torch.tensor([1.0], device=x.device), mask.all().item()
    assert len(waits) >= 5


@pytest.mark.parametrize(
    ("build", "micro_batches"), [(tiny, 1), (tiny_average, 1), (tiny_probe, 1), (tiny, 2)]
)
def test_a_step_waits_once(build: Any, micro_batches: int) -> None:
    step = full_step_of(build(num_classes=5).train(), micro_batches=micro_batches)
    batch = random_batch(4, **CLIPS)
    step(batch, 0.1)  # the optimiser's first step makes its state
    with counting_waits() as waits:
        assert step(batch, 0.1).updated
    assert waits == ["tolist"]


def test_a_step_with_a_mask_also_waits_for_the_number_of_real_frames() -> None:
    """Only real frames pass the backbone; their number decides the shapes that follow."""
    step, batch = full_step_of(tiny().train()), random_batch(4, **CLIPS, masked=True)
    step(batch, 0.1)
    with counting_waits() as waits:
        step(batch, 0.1)
    forward = {str(aten.nonzero.default), str(aten.index.Tensor)}
    assert waits[-1] == "tolist"
    assert len([wait for wait in waits if wait in forward]) <= 2  # the index, and its gradient's


def test_an_evaluation_asks_once_whether_all_is_well() -> None:
    model = tiny()
    features, positions = torch.randn(2, 6, FEATURE_DIM), torch.arange(6).repeat(2, 1)
    mask = torch.ones(2, 6, dtype=torch.bool)
    with torch.no_grad(), counting_waits() as waits:
        model.classify(features, positions, mask)
    assert len(waits) == 1


@pytest.mark.parametrize(
    ("positions", "mask", "message"),
    [
        (torch.tensor([[0, 1], [0, -3]]), None, "positions contain -3"),
        (None, torch.tensor([[True, True], [False, False]]), r"clips \[1\] of the batch have no real frame"),
    ],
)
def test_an_evaluation_on_a_gpu_reports_the_same_errors(
    positions: Tensor | None, mask: Tensor | None, message: str
) -> None:
    model = tiny()
    with counting_waits(), torch.no_grad(), pytest.raises(InputError, match=message):
        model.classify(torch.randn(2, 2, FEATURE_DIM), positions, mask)


def test_mixing_waits_for_nothing_on_the_device() -> None:
    mixer = BatchMixer(
        num_classes=5,
        mixup_alpha=0.8,
        cutmix_alpha=1.0,
        prob=1.0,
        switch_prob=0.5,
        label_smoothing=0.1,
        seed=3,
    )
    batch = random_batch(8, **CLIPS, masked=True)
    with counting_waits() as waits:
        mixed = mixer(batch, epoch=0, step=0)
    # The masks of the four pairs are compared in host memory; one_hot checks its labels there.
    assert waits.count(str(aten.equal.default)) == 4
    assert set(waits) <= {str(aten.equal.default), str(aten._local_scalar_dense.default)}
    assert torch.isfinite(soft_cross_entropy(torch.zeros(8, 5), mixed.label))


def test_normalisation_waits_for_nothing() -> None:
    with counting_waits() as waits:
        normalize(random_batch(4, **CLIPS).frames, (0.5,) * 3, (0.5,) * 3)
    assert waits == []
