"""Training over several processes, replicated or sharded, gives the metrics of one process."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.fsdp  # once here instead of in each process
from torch import Tensor, nn

from slowfast.checkpoint.storage import read_checkpoint
from slowfast.checkpoint.weights import load_model_weights
from slowfast.datasets.clip import ClipBatch
from slowfast.distributed.dtensor import to_full
from slowfast.distributed.parallel import Parallelism, as_user_error, distribute, synchronize_batch_norms
from slowfast.distributed.world import World
from slowfast.engine.evaluated_model import EvaluatedModel
from slowfast.engine.run import run
from slowfast.engine.training.train_step import StepResult
from slowfast.errors import ConfigError, TrainingError
from slowfast.models.build import build_model
from slowfast.models.losses import cross_entropy
from slowfast.models.precision import Precision
from tests.support.processes import run_forked, run_ranks
from tests.support.run_results import (
    assert_same_end,
    assert_same_metrics,
    losses_of,
    metrics_of,
    train_distributed,
)
from tests.support.tiny import Tiny, tiny_config
from tests.support.tiny_models import NO_DROPOUT, SMALL_VTN
from tests.support.training.steps import random_batch, step_of

FSDP = ("PARALLEL.MODE", "fsdp")
EXACT = (*SMALL_VTN, *NO_DROPOUT, "TRAIN.MAX_STEPS", 3)


pytestmark = pytest.mark.usefixtures("projects_imported")


@pytest.fixture(scope="module")
def one_process(colour_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of three steps of a small VTN in one process; some of the gradients are clipped."""
    output = tmp_path_factory.mktemp("one_process")
    assert run_forked(run, tiny_config(colour_videos, output, *EXACT)) == 0
    assert any(line["grad_norm"] > 1 for line in metrics_of(output, "train_iter"))
    return output


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (1, ("TRAIN.GRAD_ACCUM_STEPS", 3)),
        (2, ("TRAIN.GRAD_ACCUM_STEPS", 2)),
        (2, ("PARALLEL.STATIC_GRAPH", True)),
        pytest.param(2, FSDP, marks=pytest.mark.faults),
        (2, (*FSDP, "TRAIN.GRAD_ACCUM_STEPS", 2, "VTN.BACKBONE.ACT_CHECKPOINT", True)),
    ],
)
def test_micro_batches_options_and_shards_change_no_metric(
    one_process: Path, colour_videos: Path, tmp_path: Path, size: int, options: tuple[Any, ...]
) -> None:
    train_distributed(size, colour_videos, tmp_path, *EXACT, *options)
    assert_same_metrics(one_process, tmp_path)


@pytest.mark.parametrize("mode", [(), pytest.param(FSDP, marks=pytest.mark.faults)])
def test_a_model_with_a_frozen_backbone_is_replicated_or_sharded(
    colour_videos: Path, tmp_path: Path, mode: tuple[str, ...]
) -> None:
    options = (*EXACT, "VTN.BACKBONE.FROZEN", True)
    train_distributed(1, colour_videos, tmp_path / "one", *options)
    train_distributed(2, colour_videos, tmp_path / "two", *options, *mode)
    assert_same_metrics(tmp_path / "one", tmp_path / "two")


@pytest.mark.faults
def test_a_sharded_run_resumes_unsharded_and_the_reverse(
    one_process: Path, colour_videos: Path, tmp_path: Path
) -> None:
    """Files hold whole tensors: each step may be taken in another mode, by other processes."""
    ways: list[tuple[int, tuple[str, ...]]] = [(2, FSDP), (1, ()), (4, FSDP), (2, ())]
    for (first, mode), (second, other) in zip(ways, [*ways[1:], ways[0]], strict=True):
        output = tmp_path / f"{first}{len(mode)}"
        average = ("MODEL_EMA.ENABLE", True, "MODEL_EMA.EVALUATE", False)
        train_distributed(first, colour_videos, output, *EXACT, *average, *mode, "TRAIN.MAX_STEPS", 2)
        train_distributed(second, colour_videos, output, *EXACT, *average, *other)
        assert losses_of(output) == pytest.approx(losses_of(one_process), rel=1e-4)


def test_a_sharded_run_writes_an_ordinary_checkpoint(colour_videos: Path, tmp_path: Path) -> None:
    train_distributed(2, colour_videos, tmp_path, *EXACT, *FSDP, "TRAIN.MAX_STEPS", 1)
    path = tmp_path / "checkpoints" / "checkpoint_epoch_00000_step_000001.pyth"
    model = build_model(tiny_config(colour_videos, tmp_path, *EXACT), fetch_weights=False).eval()
    load_model_weights(model, path)
    frames = torch.randn(1, 3, 4, 32, 32)
    with torch.inference_mode():
        plain = model(frames)
        torch.testing.assert_close(model.prepare_inference()(frames), plain, atol=1e-5, rtol=1e-5)
    moments = read_checkpoint(path)["optimizer_state"]["state"]
    assert all(type(value) is Tensor for state in moments.values() for value in state.values())


@pytest.mark.faults
def test_a_sharded_run_stopped_in_an_epoch_ends_as_if_not_stopped(
    colour_videos: Path, tmp_path: Path
) -> None:
    options = (*SMALL_VTN, *FSDP, "MODEL_EMA.ENABLE", True)
    for folder, steps in (("unbroken", 3), ("stopped", 2), ("stopped", 3)):
        train_distributed(2, colour_videos, tmp_path / folder, *options, "TRAIN.MAX_STEPS", steps)
    last = "checkpoint_epoch_00000_step_000003.pyth"
    assert_same_end(tmp_path / "unbroken", tmp_path / "stopped", last)


# ------------------------------------------------------------------------------- single steps


class Spare(Tiny):
    """Has a layer that takes no part."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(2, 2)


class Exploding(Tiny):
    """The last of its clips has no finite loss."""

    def forward(self, *given: Any) -> Tensor:
        logits = super().forward(*given)
        return logits * torch.ones_like(logits).index_fill(0, torch.tensor([-1]), float("nan"))


def take_step(
    model: nn.Module,
    world: World,
    batch: ClipBatch,
    how: Parallelism,
    *,
    micro_batches: int = 1,
    count: int = 1,
    **clip: float,
) -> list[StepResult]:
    network = distribute(model, model, world, how)
    step = step_of(model, world=world, network=network, micro_batches=micro_batches, **clip)
    return [step(batch, 0.1) for _ in range(count)]


def _clips_as_the_whole(world: World, sharded: bool, clip: dict[str, float]) -> int:
    torch.manual_seed(0)
    batch, models = random_batch(4), [Tiny(), Tiny(), Tiny()]
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
    (one,) = take_step(models[0], World(), batch, Parallelism(), **clip)
    take_step(models[1], World(), batch, Parallelism())
    half = slice(world.rank * 2, world.rank * 2 + 2)
    mine = batch.map_tensors(operator.itemgetter(half))
    (two,) = take_step(models[2], world, mine, Parallelism(sharded=sharded), micro_batches=2, **clip)
    assert two.grad_norm == pytest.approx(one.grad_norm, rel=1e-5)
    state = {name: to_full(weight) for name, weight in models[2].state_dict().items()}
    torch.testing.assert_close(state, models[0].state_dict())
    assert (state["hidden.weight"] - models[1].hidden.weight).abs().max() > 1e-4  # not clipped
    return 0


def test_a_loss_that_is_not_finite_skips_one_step_with_gradient_scaling() -> None:
    torch.manual_seed(0)
    losses = iter([float("nan"), 1.0, 1.0])
    step = step_of(
        Tiny(),
        loss=lambda logits, labels: cross_entropy(logits, labels) * next(losses),
        precision=Precision("cpu", torch.float16),
    )
    batch = random_batch(2)
    assert [step(batch, 0.1).updated for _ in range(3)] == [False, True, True]


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("clip", [{"clip_value": 0.01}, {"clip_norm": 0.1}], ids=str)
def test_gradients_of_shards_and_micro_batches_are_clipped_together(
    sharded: bool, clip: dict[str, float]
) -> None:
    """With plain descent, which does not forget how large gradients are."""
    assert run_ranks(_clips_as_the_whole, 2, sharded, clip) == [0, 0]


def _is_skipped(world: World, sharded: bool) -> int:
    torch.manual_seed(0)
    model = Exploding() if world.rank == 1 else Tiny()
    before = [p.detach().clone() for p in model.parameters()]
    (result,) = take_step(model, world, random_batch(2), Parallelism(sharded=sharded), micro_batches=2)
    after = [p.full_tensor() if sharded else p for p in model.parameters()]
    return int(result.updated or not all(map(torch.equal, before, after)))


@pytest.mark.parametrize("sharded", [False, True])
def test_a_loss_that_is_not_finite_on_one_rank_skips_the_step_on_all(sharded: bool) -> None:
    assert run_ranks(_is_skipped, 2, sharded) == [0, 0]


def _explains_unused(world: World) -> int:
    with pytest.raises(TrainingError, match=r"PARALLEL\.FIND_UNUSED_PARAMETERS True"):
        take_step(Spare(), world, random_batch(2), Parallelism(), count=2)
    results = take_step(Spare(), world, random_batch(2), Parallelism(find_unused=True), count=2)
    return 0 if all(result.updated for result in results) else 1


def test_parameters_without_gradient_are_reported_or_searched_for() -> None:
    assert run_ranks(_explains_unused, 2) == [0, 0]


@pytest.mark.parametrize(("count", "micro_batches"), [(5, 2), (4, 4), (3, 7)])
def test_micro_batches_give_the_step_of_the_full_batch(count: int, micro_batches: int) -> None:
    batch, ends = random_batch(count), []
    for number in (1, micro_batches):
        torch.manual_seed(0)
        model = Tiny()
        results = take_step(model, World(), batch, Parallelism(), micro_batches=number, count=2)
        ends.append((model, results))
    (whole, expected), (model, found) = ends
    for one, other in zip(expected, found, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-6)
        assert (other.clips, other.correct) == (one.clips, one.correct)
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-5)
    torch.testing.assert_close(model.state_dict(), whole.state_dict())


def test_more_micro_batches_than_clips_are_refused(colour_videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"GRAD_ACCUM_STEPS = 5: must be at most 4, the clips per step"):
        run(tiny_config(colour_videos, tmp_path, "TRAIN.GRAD_ACCUM_STEPS", 5))


def test_synchronized_batch_norms_need_gpus_and_keep_activations() -> None:
    from timm.layers import BatchNormAct2d

    model: Callable[[], nn.Module] = lambda: nn.Sequential(nn.Conv2d(3, 4, 1), BatchNormAct2d(4))  # noqa: E731
    with pytest.raises(ConfigError, match=r"BN.NORM_TYPE = 'sync_batchnorm': .* use batchnorm"):
        synchronize_batch_norms(model(), World(0, 2))
    assert isinstance(
        synchronize_batch_norms(model(), World())[1], BatchNormAct2d
    )  # one process: nothing to do
    converted = synchronize_batch_norms(model(), World(0, 2, device=torch.device("cuda")))
    assert isinstance(converted[1], nn.SyncBatchNorm)
    assert converted[1].act is not None


def _has_rank_0s_statistics(world: World) -> int:
    model = nn.Sequential(nn.BatchNorm1d(2))
    model[0].running_mean.fill_(world.rank)
    evaluated = EvaluatedModel(model, world, sharded=False)
    with evaluated.ready():
        return int(evaluated.network[0].running_mean.tolist() != [0, 0])


def test_all_ranks_evaluate_with_the_statistics_that_are_saved() -> None:
    """Batch norms count what their own rank saw; unlike weights, these statistics differ between ranks."""
    assert run_ranks(_has_rank_0s_statistics, 2) == [0, 0]


def test_a_gpu_that_was_used_before_a_deterministic_run_is_an_error_with_the_remedy() -> None:
    """As in a notebook: torch reads the variable once, at the first product of the process."""
    text = "Deterministic behavior was enabled, but … you must set … CUBLAS_WORKSPACE_CONFIG=:4096:8"
    error = as_user_error(RuntimeError(text))
    assert "DETERMINISTIC = True: this process has multiplied matrices on the GPU before" in str(error)
    assert "CUBLAS_WORKSPACE_CONFIG=:4096:8 before it starts" in str(error)
    assert as_user_error(RuntimeError("shapes do not fit")) is None
