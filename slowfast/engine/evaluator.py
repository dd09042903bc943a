"""Building of the evaluation of one split from a configuration."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from fvcore.common.config import CfgNode

from slowfast.config.derived import split_section
from slowfast.datasets.build import build_dataset
from slowfast.datasets.loading.loader import ClipLoader, build_loader
from slowfast.datasets.video_dataset import ViewDataset
from slowfast.distributed.device import device_errors, uses_pinned_memory
from slowfast.distributed.world import World
from slowfast.engine.evaluate import Evaluation, evaluate
from slowfast.interrupt import Interrupt
from slowfast.log import CountOf, get_logger, log_json_stats
from slowfast.models.capabilities import (
    FillsShortClips,
    FrameByFrameModel,
    clip_grid_of,
    feature_shape_of,
    memory_remedies,
)
from slowfast.models.feature_head import network_for
from slowfast.models.frame_format import frame_normalization
from slowfast.models.losses import LOSS_REGISTRY, LossFunction
from slowfast.models.objective.training_loss import build_plain_loss
from slowfast.models.precision import build_precision
from slowfast.progress import Progress, format_duration

logger = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class SplitEvaluator:
    """Evaluates a model on one split, any number of times.

    Attributes:
        split: ``val`` or ``test``, for the log.
        dataset: of the split.
        num_batches: batches of this process.
        evaluate: evaluates once and calls its argument ``on_batch`` after each batch.
        log_period: batches between two lines of the log.
        is_main: whether this process logs.
        device: of the model.
        memory_remedies: settings with which an evaluation needs less memory.
    """

    split: str
    dataset: ViewDataset
    num_batches: int
    evaluate: Callable[..., Evaluation | None]
    log_period: int
    is_main: bool
    device: torch.device
    memory_remedies: tuple[str, ...]

    def run(self) -> Evaluation | None:
        """Evaluates once; returns the evaluation on rank 0 and None on the others.

        Raises:
            DataError: if a video of the split was neither scored nor reported as broken.
            DeviceError: if the device fails or its memory is full.
            Interrupted: after a signal.
        """
        started = time.perf_counter()
        with Progress(self.num_batches, self.split, "batch", enabled=self.is_main) as bar:

            def count() -> None:
                bar.update(1)
                if self.is_main and bar.done % self.log_period == 0:
                    seconds = time.perf_counter() - started
                    log_evaluation_step(self.split, bar.done, self.num_batches, seconds)

            with device_errors(self.device, *self.memory_remedies):
                evaluation = self.evaluate(on_batch=count)
        if evaluation is not None:
            evaluation.check_complete(self.dataset.num_videos)
        return evaluation


def build_evaluation_loader(
    cfg: CfgNode, split: str, model: Any, world: World, *, dataset: ViewDataset | None = None
) -> ClipLoader:
    """Reads the list of ``split`` (``val`` or ``test``), and builds the loader of this process's views.

    Args:
        model: see :func:`build_evaluator`; another one of the same class may be evaluated.
        dataset: used in place of that of the configuration.
    """
    views_per_step = cfg[split_section(split)].BATCH_SIZE
    dataset = dataset or build_dataset(
        cfg,
        split,
        position_rate=model.position_rate,
        streamed_views=isinstance(model, FrameByFrameModel),
        feature_shape=feature_shape_of(model),
        clip_grid=clip_grid_of(model),
    )
    return build_loader(
        cfg,
        dataset,
        split,
        rank=world.rank,
        world_size=world.size,
        batch_size=views_per_step // world.local_size,
        pin_memory=uses_pinned_memory(world.device),
        by_length=isinstance(model, FillsShortClips),
    )


def build_evaluator(
    cfg: CfgNode,
    split: str,
    model: Any,
    world: World,
    interrupt: Interrupt,
    *,
    loader: ClipLoader | None = None,
) -> SplitEvaluator:
    """Builds the evaluation of ``model`` on ``split`` (``val`` or ``test``).

    Args:
        model: a :class:`slowfast.models.capabilities.VideoModel` on the device of ``world``.
        interrupt: ends an evaluation after a signal.
        loader: the result of :func:`build_evaluation_loader`; None: it is built here.
    """
    loader = loader or build_evaluation_loader(cfg, split, model, world)
    normalization = frame_normalization(cfg, model)
    evaluate_split = functools.partial(
        evaluate,
        network_for(model, loader.dataset, normalization),
        loader,
        num_classes=cfg.MODEL.NUM_CLASSES,
        ensemble=cfg.DATA.ENSEMBLE_METHOD,
        head_act=cfg.MODEL.HEAD_ACT,
        normalization=normalization,
        loss=_build_loss(cfg),
        world=world,
        precision=build_precision(cfg, split, world.device),
        interrupt=interrupt,
    )
    _check_scores(cfg)
    section = split_section(split)
    return SplitEvaluator(
        split=split,
        dataset=loader.dataset,
        num_batches=len(loader),
        evaluate=evaluate_split,
        log_period=cfg.LOG_PERIOD,
        is_main=world.is_main,
        device=world.device,
        memory_remedies=(
            *memory_remedies(model, training=False),
            f"{section}.BATCH_SIZE below {cfg[section].BATCH_SIZE}",
            f"TRAIN.EVAL_STREAM_FRAMES below {cfg.TRAIN.EVAL_STREAM_FRAMES}",
        ),
    )


def _build_loss(cfg: CfgNode) -> LossFunction | None:
    """Returns the loss of the configuration; None if it is undefined for the labels of an evaluation.

    Evaluation does not mix clips, so a loss of one value per class cannot be computed for class indices.
    """
    needs_values = LOSS_REGISTRY.forms_of(cfg.MODEL.LOSS_FUNC).labels == "values"
    return None if needs_values and not cfg.DATA.MULTI_LABEL else build_plain_loss(cfg)


def _check_scores(cfg: CfgNode) -> None:
    """Logs a warning if scores of several classes per video depend on each other, unless the loss does so."""
    of_distributions = ("soft_cross_entropy", "soft_focal")
    is_softmax = cfg.MODEL.HEAD_ACT == "softmax" and cfg.MODEL.LOSS_FUNC not in of_distributions
    if cfg.DATA.MULTI_LABEL and is_softmax:
        logger.warning(
            "MODEL.HEAD_ACT is softmax, so the score of a class depends on the other classes; sigmoid is "
            "usual for videos of several classes"
        )


def log_evaluation_step(split: str, done: int, total: int, seconds: float) -> None:
    """Logs the progress of an evaluation: ``done`` of ``total`` batches in ``seconds``."""
    log_json_stats(
        {
            "_type": f"{split}_iter",
            "iter": CountOf(done, total),
            "time_diff": seconds / done,
            "eta": format_duration(seconds / done * (total - done)),
        }
    )
