"""Training on one GPU: the losses of the CPU, resuming on the other device, precision, waits and memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from slowfast.checkpoint.storage import read_checkpoint
from slowfast.datasets.clip import ClipBatch
from slowfast.datasets.views.mixing import BatchMixer
from slowfast.distributed.device import peak_memory, supports_bfloat16
from slowfast.distributed.world import World
from slowfast.engine.dry_run import run_dry
from slowfast.engine.run import run
from slowfast.engine.training.train_step import TrainStep
from slowfast.errors import DeviceError
from slowfast.interrupt import Interrupt
from slowfast.models.losses import cross_entropy, soft_cross_entropy
from slowfast.models.precision import Precision, choose_precision
from tests.support.run_results import assert_same_end, losses_of, metrics_of
from tests.support.tiny import tiny_config
from tests.support.tiny_models import NO_DROPOUT, SIZE, SMALL_VTN, tiny
from tests.support.training.steps import full_step_of, random_batch, step_of

# In float32 throughout: TensorFloat32, the default, changes losses by some thousandths within few steps.
GPU = ("NUM_GPUS", 1, "MODEL.DROPOUT_RATE", 0.0, "MATMUL_PRECISION", "highest")
CPU = ("NUM_GPUS", 0, "MODEL.DROPOUT_RATE", 0.0)
AVERAGED = ("MODEL_EMA.ENABLE", True)


def train(data: Path, output: Path, *options: Any) -> Path:
    assert run(tiny_config(data, output, *options)) == 0
    return output


def clips(count: int = 4, *, masked: bool = False) -> ClipBatch:
    return random_batch(count, num_frames=6, size=SIZE, num_classes=5, masked=masked).pin_memory()


def step_on(device: torch.device, **options: Any) -> TrainStep:
    return full_step_of(tiny(num_classes=5).to(device).train(), **options)


@pytest.mark.parametrize("model", [(), (*SMALL_VTN, *NO_DROPOUT)], ids=["Tiny", "VTN"])
def test_the_losses_are_those_of_the_cpu(colour_videos: Path, tmp_path: Path, model: tuple[Any, ...]) -> None:
    options = (*model, "TRAIN.MAX_STEPS", 6, "TEST.ENABLE", False)
    on_cpu = train(colour_videos, tmp_path / "cpu", *CPU, *options)
    on_gpu = train(colour_videos, tmp_path / "gpu", *GPU, *options)
    assert losses_of(on_gpu) == pytest.approx(losses_of(on_cpu), rel=2e-3)
    assert metrics_of(on_gpu, "train_iter")[0]["gpu_mem"] > 0


@pytest.mark.parametrize(("first", "then"), [(CPU, GPU), (GPU, CPU)], ids=["CPU to GPU", "GPU to CPU"])
def test_a_run_is_resumed_on_the_other_device(
    colour_videos: Path, tmp_path: Path, first: tuple[Any, ...], then: tuple[Any, ...]
) -> None:
    options = ("TRAIN.MAX_STEPS", 12, "TEST.ENABLE", False, *AVERAGED)
    unbroken = train(colour_videos, tmp_path / "unbroken", *CPU, *options)
    train(colour_videos, tmp_path / "moved", *first, *options, "TRAIN.MAX_STEPS", 6)
    moved = train(colour_videos, tmp_path / "moved", *then, *options)
    assert losses_of(moved) == pytest.approx(losses_of(unbroken), rel=5e-3)
    ends = [
        read_checkpoint(path / "checkpoints" / "checkpoint_epoch_00002.pyth") for path in (unbroken, moved)
    ]
    for name, weight in ends[0]["ema_state"]["weights"].items():
        found = ends[1]["ema_state"]["weights"][name]
        torch.testing.assert_close(found, weight, atol=2e-3, rtol=1e-2)


def test_deterministic_runs_end_with_the_same_bits(colour_videos: Path, tmp_path: Path) -> None:
    """The second run is stopped and resumed."""
    options = (*GPU, "DETERMINISTIC", True, "TEST.ENABLE", False)
    try:
        one = train(colour_videos, tmp_path / "one", *options)
        train(colour_videos, tmp_path / "two", *options, "TRAIN.MAX_STEPS", 8)
        assert_same_end(one, train(colour_videos, tmp_path / "two", *options))
    finally:
        torch.use_deterministic_algorithms(False)


def test_mixed_precision_learns(colour_videos: Path, tmp_path: Path, device: torch.device) -> None:
    output = train(colour_videos, tmp_path, *GPU, "TRAIN.MIXED_PRECISION", True)
    losses = losses_of(output)
    assert losses[-1] < 0.5 * losses[0]
    expected = "bfloat16" if supports_bfloat16(device) else "float16"
    assert f"mixed, {expected}" in (output / "stdout.log").read_text()


def test_float16_is_scaled_and_overflows_change_nothing(device: torch.device) -> None:
    step, batch = step_on(device, precision=Precision(device.type, torch.float16)), clips()
    step.scaler = torch.amp.GradScaler(device.type, init_scale=2.0**60)
    before = [weight.detach().clone() for weight in step.model.parameters()]
    result = step(batch, 1e-3)
    assert (result.updated, result.overflow_scale) == (False, 2.0**60)
    assert all(map(torch.equal, before, step.model.parameters()))
    step.scaler = torch.amp.GradScaler(device.type, init_scale=16.0)
    assert [step(batch, 1e-5).updated for _ in range(3)] == [True] * 3
    assert step.average is not None
    assert step.average.updates == 3


def waits_of(call: Callable[[], object]) -> list[str]:
    """Returns the places in which the host waits for the GPU while ``call`` runs."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return [
        f"{found.filename}:{found.lineno}" for found in caught if "synchronizing CUDA" in str(found.message)
    ]


@pytest.fixture
def only_cuda(device: torch.device) -> None:
    if device.type != "cuda":
        pytest.skip(f"only CUDA reports its waits; this is {device.type}")


@pytest.mark.usefixtures("only_cuda")
@pytest.mark.parametrize(("masked", "limit"), [(False, 1), (True, 3)], ids=["full clips", "masked clips"])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_step_waits_once(
    masked: bool, limit: int, mixed: bool, device: torch.device, record_property: Callable[..., None]
) -> None:
    """Masked clips also wait for the number of real frames, in the forward and in the backward pass."""
    mixer = BatchMixer(5, 0.8, 1.0, 1.0, 0.5, 0.1, seed=3)
    step = step_on(device, loss=soft_cross_entropy if mixed else cross_entropy)
    batch = clips(8, masked=masked)

    def one() -> None:
        given = mixer(batch, epoch=0, step=0, device=device) if mixed else batch
        step(given, 1e-3)

    one()
    places = waits_of(one)
    record_property("waits per step", ", ".join(places))
    assert len(places) <= limit


@pytest.mark.usefixtures("only_cuda")
def test_an_evaluation_of_features_waits_once(device: torch.device) -> None:
    model = tiny().to(device)
    features = torch.randn(2, 6, model.feature_dim, device=device)
    positions, mask = (
        torch.arange(6, device=device).repeat(2, 1),
        torch.ones(2, 6, dtype=torch.bool).to(device),
    )
    with torch.no_grad():
        model.classify(features, positions, mask)
        assert len(waits_of(lambda: model.classify(features, positions, mask))) == 1


def test_a_full_gpu_is_an_error_with_numbers_and_keys(device: torch.device) -> None:
    step = step_on(device, loss=lambda *_: torch.empty(2**50, device=device))
    with pytest.raises(DeviceError, match=r"is full: .* GiB of memory, .* GiB allocated.*GRAD_ACCUM_STEPS"):
        step(clips(), 1e-3)


@pytest.mark.parametrize("precision", ["float32", "mixed"])
def test_time_and_memory_of_a_step_of_vit_b(
    precision: str, device: torch.device, record_property: Callable[..., None]
) -> None:
    """Eight clips of 16 frames, without loading: the figures of the report."""
    import time

    from vtn import VTN

    if device.type == "cuda" and torch.cuda.get_device_properties(device).total_memory < 32 * 2**30:
        pytest.skip("needs a GPU with 32 GiB of memory or more")
    model = VTN(pretrained=False).to(device).train()
    optimizer = torch.optim.AdamW([*model.named_parameters()], fused=True)
    batch = random_batch(8, num_frames=16, size=224, num_classes=8).pin_memory()
    step = step_of(model, optimizer, precision=choose_precision(precision, device))
    torch.cuda.reset_peak_memory_stats() if device.type == "cuda" else None
    seconds: list[float] = []
    for _ in range(6):
        start = time.perf_counter()
        assert step(batch, 1e-5).updated
        seconds.append(time.perf_counter() - start)
    record_property("clips/s", f"{8 / sorted(seconds[1:])[2]:.3g}")
    if (peak := peak_memory(device)) is not None:
        record_property("peak memory, GiB", f"{peak / 2**30:.2f}")


def test_a_batch_of_pinned_memory_arrives_in_its_layout(device: torch.device) -> None:
    batch = clips()
    moved = batch.to(device)
    assert isinstance(moved.frames, Tensor)
    assert torch.equal(moved.frames.cpu(), batch.frames)
    assert moved.frames.stride() == batch.frames.stride()


def test_a_dry_run_measures_the_copy_to_the_gpu(
    colour_videos: Path, tmp_path: Path, device: torch.device
) -> None:
    cfg = tiny_config(colour_videos, tmp_path, *GPU, "DATA_LOADER.NUM_WORKERS", 1)
    with Interrupt() as interrupt:
        (result,) = run_dry(cfg, World(device=device), interrupt)
    assert result.headroom.device_copy > 0
    assert result.headroom.cores.computing == 0
