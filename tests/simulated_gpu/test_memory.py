"""Memory and time that a GPU must not lose."""

from __future__ import annotations

import copy
import threading
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slowfast.distributed.world import World
from slowfast.engine import evaluated_model
from slowfast.engine.evaluated_model import EvaluatedModel
from slowfast.engine.run import run
from slowfast.extraction.extract import ExtractionRequest, extract_features
from slowfast.interrupt import Interrupt
from slowfast.models.capabilities import EncodingSetup
from slowfast.models.inference.encoding import EncodingRequest, choose_encoding, prepare_frozen_encoding
from slowfast.models.inference.folding import fold_batch_norms
from tests.support.run_results import losses_of
from tests.support.tiny_models import small_run_config, tiny


def test_a_compiled_network_is_not_given_more_images_than_there_are(
    gpu: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU takes 256 images at once, but a chunk of frames has 64: the rest would be computed in vain."""
    counts: list[int] = []

    def compiled(compute: Any, *, dynamic: bool) -> Any:
        return lambda images: (counts.append(len(images)), compute(images))[1]

    monkeypatch.setattr(torch, "compile", compiled)
    model = tiny().to(gpu)
    model.prepare_encoding(EncodingSetup(compile=True), torch.zeros(1, 3, 8, 16, 16, device=gpu))
    with torch.no_grad():
        for frames in (8, 64, 3, 64):
            assert model.encode_frames(torch.zeros(1, 3, frames, 16, 16, device=gpu)).shape[1] == frames
    assert counts == [8, 64, 64, 64]


class Full(nn.Module):
    """A model that has no memory for a prepared copy, or for a compiled one."""

    clip_grid = None

    def __init__(self) -> None:
        super().__init__()
        self.held: weakref.ref[Tensor] | None = None
        self.was_free: list[bool] = []

    def encode_frames(self, frames: Tensor) -> Tensor:
        return frames.mean((3, 4)).transpose(1, 2)

    def prepare_encoding(self, setup: EncodingSetup | None, sample: Tensor | None = None) -> None:
        if self.held is not None:
            self.was_free.append(self.held() is None)
        if setup is not None and setup.compile:
            self.fail()

    def prepare_frozen_encoding(self, dtype: torch.dtype | None, sample: Tensor) -> EncodingSetup | None:
        return self.fail()

    def fail(self) -> EncodingSetup | None:
        activations = torch.zeros(8)
        self.held = weakref.ref(activations)
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_memory_of_a_failed_trial_is_free_before_the_next_one(
    gpu: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that is being handled holds the tensors of the functions that it has left."""
    model = Full()
    choose_encoding(model, EncodingRequest("float32", "auto"), (16, 16), gpu, num_frames=1e12)
    assert model.was_free == [True]
    freed: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append(model.held() is None))  # type: ignore[misc]
    prepare_frozen_encoding(model, (16, 16), gpu, None)
    assert freed == [True]


def test_folded_norms_are_compared_in_float32(gpu: torch.device) -> None:
    """In TensorFloat32 the comparison would fail, and nothing be folded."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval().to(gpu)
    sample = torch.randn(2, 3, 8, 8).to(gpu)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    allowed: list[tuple[str, bool]] = []

    def run() -> Tensor:
        allowed.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
        return network(sample)

    run()
    assert fold_batch_norms(network, run) == 1
    run()
    assert allowed[0] == allowed[-1] == ("high", True)
    assert set(allowed[1:-1]) == {("highest", False)}


def test_the_copy_of_a_sharded_model_is_made_in_host_memory(
    gpu: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []

    def deepcopy(model: nn.Linear) -> nn.Linear:
        copied.append(model.weight.device.type)
        return copy.deepcopy(model)

    monkeypatch.setattr(evaluated_model, "copy", SimpleNamespace(deepcopy=deepcopy))
    model = nn.Linear(2, 2).to(gpu)
    evaluated: Any = EvaluatedModel(model, World(device=gpu), sharded=True)
    assert copied == ["cpu"]
    assert (model.weight.device, evaluated.network.weight.device.type) == (gpu, "cpu")


def test_threads_that_extract_have_the_gpu_of_their_process(
    gpu: torch.device, small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a new thread the first GPU is the current one, in each process of a node."""
    devices: dict[str, int] = {}
    monkeypatch.setattr(
        torch.accelerator,
        "set_device_index",
        lambda index: devices.update({threading.current_thread().name: index}),
    )
    options = ("DATA.FEATURES", tmp_path / "cache", "VTN.INPUT.STANDARDIZE", True, "TRAIN.MAX_STEPS", 2)
    cfg = small_run_config(small_dataset, tmp_path / "run", 32, *options, "NUM_GPUS", 1)
    extract_features(cfg, World(device=gpu), Interrupt(), ExtractionRequest())
    assert [index for name, index in devices.items() if name.startswith("extract")] == [0]
    assert run(cfg) == 0
    assert all(0 < loss < 10 for loss in losses_of(tmp_path / "run"))
