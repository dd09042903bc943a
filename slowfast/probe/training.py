"""Training of one candidate on some of the videos, as ``slowfast run`` would train it, from memory.

Sampler, mixture, optimiser, learning rates, loss, average and clips are those of the configuration. Nothing
is saved or validated in between, and no worker reads clips: a training of some hundred videos takes seconds.

Candidates are trained one by one, in as many processes as there are cores. Stacking the weights of several
with ``torch.func`` was a sixth faster, and is possible only where they have equal parts and sizes.

V videos, B clips of a batch, K classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from numpy.typing import NDArray
from torch import Tensor, nn

from slowfast.config.derived import clips_per_video
from slowfast.datasets.loading.samplers import SAMPLER_REGISTRY, TrainingSampler
from slowfast.datasets.views.mixing import build_mixer
from slowfast.distributed.device import upload, widest_float
from slowfast.engine.seeding import seed_generators
from slowfast.errors import ModelError
from slowfast.features.batch import FeatureMixer
from slowfast.models.build import build_model
from slowfast.models.capabilities import StandardizesFeatures
from slowfast.models.objective.training_loss import build_training_loss
from slowfast.models.score_activations import SCORE_ACTIVATION_REGISTRY
from slowfast.probe.feature_table import DRAWS, ClipInputs, ClipPlan, FeatureTable, plan_clips
from slowfast.solver import build_lr_policy, build_optimizer
from slowfast.solver.ema import WeightAverage, build_average, evaluates_average
from slowfast.solver.optimizer import set_learning_rate

# A training whose loss stays below this for two epochs has nothing left to learn.
_LOW_LOSS = 2e-3


@dataclass(frozen=True)
class Plans:
    """The clips of a configuration.

    Attributes:
        training: several random clips of each video.
        evaluation: the clip that validation reads.
    """

    training: ClipPlan
    evaluation: ClipPlan

    @classmethod
    def of(cls, cfg: CfgNode, table: FeatureTable, position_rate: float | None) -> Plans:
        """Returns the clips of the videos in a table."""
        return cls(*(plan_clips(cfg, table, position_rate, split) for split in ("train", "val")))


@dataclass(frozen=True)
class Trained:
    """The result of a training.

    Attributes:
        scores: (test videos, K) float32, after ``MODEL.HEAD_ACT``.
        losses: mean training loss of each epoch.
        seconds: time of training and test.
    """

    scores: NDArray[np.float32]
    losses: tuple[float, ...]
    seconds: float


def train_and_score(
    cfg: CfgNode,
    table: FeatureTable,
    plans_of: Callable[[CfgNode, float | None], Plans],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    *,
    seed: int,
    device: torch.device,
    check_stop: Callable[[], None] = lambda: None,
) -> Trained:
    """Trains the model of a configuration on some videos and scores others.

    Args:
        cfg: of the candidate, without a frame encoder.
        plans_of: returns the clips of a configuration and of a model's position rate, see :meth:`Plans.of`.
        train, test: indices of videos.
        seed: of weights, dropout and the order of the videos.
        check_stop: called after each epoch; raises an exception to end the training.

    Raises:
        ModelError: where the model cannot be built, or its loss is not finite.
    """
    started = time.perf_counter()
    seed_generators(seed)
    model: Any = build_model(cfg, fetch_weights=False).to(device)
    plans = plans_of(cfg, model.position_rate)
    _standardize(model, table, plans.training, train)
    average = build_average(cfg, model)
    batches = Batches(cfg, plans.training, table, train, seed, device)
    losses = _train(cfg, model, batches, average, check_stop)
    averaged = average is not None and evaluates_average(cfg)
    with average.in_place() if average is not None and averaged else nullcontext():
        scores = score(cfg, model, table, plans.evaluation, test, device)
    return Trained(scores, tuple(losses), time.perf_counter() - started)


def _train(
    cfg: CfgNode, model: Any, batches: Batches, average: WeightAverage | None, check_stop: Callable[[], None]
) -> list[float]:
    """Trains the model in place and returns the mean loss of each epoch."""
    optimizer, policy = build_optimizer(cfg, model), build_lr_policy(cfg)
    loss_function = build_training_loss(cfg, batches.labels)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    losses: list[float] = []
    model.train()
    for epoch in range(cfg.SOLVER.MAX_EPOCH):
        total = torch.zeros((), dtype=widest_float(learned[0].device), device=learned[0].device)
        for step, (inputs, labels) in enumerate(batches.epoch(epoch)):
            loss = loss_function(model.classify(*inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            _clip_gradients(cfg, learned)
            set_learning_rate(optimizer, policy(epoch + step / len(batches)))
            optimizer.step()
            if average is not None:
                average.update()
            total += loss.detach()
        losses.append(float(total) / len(batches))  # read once: a GPU waits for each reading
        if not np.isfinite(losses[-1]):
            raise ModelError(
                f"the loss is {losses[-1]} in epoch {epoch + 1}; use a smaller SOLVER.BASE_LR = "
                f"{cfg.SOLVER.BASE_LR:g}, or SOLVER.CLIP_GRAD_L2NORM"
            )
        if max(losses[-2:]) < _LOW_LOSS and epoch > 0:
            break
        check_stop()
    return losses


@torch.no_grad()
def score(
    cfg: CfgNode,
    model: Any,
    table: FeatureTable,
    plan: ClipPlan,
    videos: NDArray[np.int64],
    device: torch.device,
) -> NDArray[np.float32]:
    """Returns the scores (videos, K) of some videos, one clip each."""
    activation = SCORE_ACTIVATION_REGISTRY.get(cfg.MODEL.HEAD_ACT)
    model.eval()
    parts = [
        activation(model.classify(*to_device(plan.clips(table, chosen), device))).float().cpu()
        for chosen in torch.from_numpy(videos).split(max(cfg.TRAIN.BATCH_SIZE, 32))
    ]
    return torch.cat(parts).numpy()


def _clip_gradients(cfg: CfgNode, learned: list[nn.Parameter]) -> None:
    if cfg.SOLVER.CLIP_GRAD_VAL is not None:
        nn.utils.clip_grad_value_(learned, cfg.SOLVER.CLIP_GRAD_VAL)
    elif cfg.SOLVER.CLIP_GRAD_L2NORM is not None:
        nn.utils.clip_grad_norm_(learned, cfg.SOLVER.CLIP_GRAD_L2NORM)


def _standardize(model: Any, table: FeatureTable, plan: ClipPlan, train: NDArray[np.int64]) -> None:
    """Sets the statistics of a model that needs them, from the first clip of each training video."""
    if not isinstance(model, StandardizesFeatures) or not model.needs_feature_statistics:
        return
    rows = plan.rows[0, torch.from_numpy(train)]
    features = table.rows[rows[rows >= 0]].double().flatten(0, -2)
    model.set_feature_statistics(
        features.mean(dim=0).float(), features.std(dim=0, correction=0).float(), len(features)
    )


@dataclass(frozen=True)
class _Videos:
    """The training videos, as samplers take a data set."""

    labels: NDArray[np.int64]
    paths: Sequence[str]

    def __len__(self) -> int:
        return len(self.labels)


class Batches:
    """The batches of a training in memory: the sampler, the mixer and the clips of ``slowfast run``.

    Args:
        cfg: of the candidate.
        plan: of training clips.
        table: of all videos.
        train: indices of the training videos.
        seed: of the order of the videos and of mixtures.
        device: of the batches.

    Attributes:
        labels: (V,) int64, classes of the training videos.
    """

    def __init__(
        self,
        cfg: CfgNode,
        plan: ClipPlan,
        table: FeatureTable,
        train: NDArray[np.int64],
        seed: int,
        device: torch.device,
    ) -> None:
        self._plan, self._table, self._train, self._device = plan, table, train, device
        self.labels = table.labels.numpy()[train]
        videos = _Videos(self.labels, [table.paths[index] for index in train])
        batch = min(cfg.TRAIN.BATCH_SIZE, len(train))
        self._sampler: TrainingSampler = SAMPLER_REGISTRY.get(cfg.DATA_LOADER.TRAIN_SAMPLER)(
            videos, batch, rank=0, world_size=1, seed=seed, repeats=clips_per_video(cfg)
        )
        mixer = build_mixer(cfg, rank=0, batch_size=batch)
        self._mixer = None if mixer is None else FeatureMixer(replace(mixer, seed=seed))

    def __len__(self) -> int:
        """Returns the steps of an epoch; the last, incomplete step is left out."""
        return len(self._sampler)

    def epoch(self, epoch: int) -> Iterator[tuple[ClipInputs, Tensor]]:
        """Yields the inputs of the model and the labels of each step."""
        self._sampler.set_position(epoch, 0)
        for step, refs in enumerate(self._sampler):
            videos = torch.from_numpy(self._train[[ref.index for ref in refs]])
            draws = torch.tensor([ref.epoch % DRAWS for ref in refs])
            features, positions, mask = self._plan.clips(self._table, videos, draws)
            labels = self._table.labels[videos]
            if self._mixer is not None:
                features, labels = self._mixer.mix(features, mask, labels, epoch, step)
            yield to_device((features, positions, mask), self._device), upload(labels, self._device)


def to_device(inputs: ClipInputs, device: torch.device) -> ClipInputs:
    """Returns the arguments of ``classify`` on a device; the host does not wait for the copies."""
    features, positions, mask = inputs
    return (
        upload(features, device),
        upload(positions, device),
        None if mask is None else upload(mask, device),
    )
