"""Building of the data of one split, and of its evaluation, from a configuration."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from fvcore.common.config import CfgNode

from slowfast.config.derived import split_section
from slowfast.datasets.annotations import Annotations
from slowfast.datasets.build import build_dataset
from slowfast.datasets.loading.loader import ClipLoader, build_loader
from slowfast.datasets.video_dataset import ViewDataset
from slowfast.distributed.device import device_errors, uses_pinned_memory
from slowfast.distributed.world import World
from slowfast.engine.evaluate import Evaluation, ViewScorer, evaluate
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
from slowfast.models.score_activations import SCORE_ACTIVATION_REGISTRY
from slowfast.progress import Progress, format_duration

logger = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class SplitEvaluator:
    """Evaluates a model on one split, any number of times.

    Attributes:
        split: ``val`` or ``test``, for the log.
        loader: of this process's views.
        num_classes, ensemble: see :func:`slowfast.engine.evaluate.evaluate`.
        log_period: batches between two lines of the log.
        memory_remedies: settings with which an evaluation needs less memory.
    """

    split: str
    loader: ClipLoader
    scorer: ViewScorer
    num_classes: int
    ensemble: str
    world: World
    interrupt: Interrupt
    log_period: int
    memory_remedies: tuple[str, ...]

    @property
    def dataset(self) -> ViewDataset:
        """The data set of the split."""
        return self.loader.dataset

    def run(self) -> Evaluation | None:
        """Evaluates once; returns the evaluation on rank 0 and None on the others.

        Raises:
            DataError: if a video of the split was neither scored nor reported as broken.
            DeviceError: if the device fails or its memory is full.
            Interrupted: after a signal.
        """
        started = time.perf_counter()
        total, is_main = len(self.loader), self.world.is_main
        with Progress(total, self.split, "batch", enabled=is_main) as bar:

            def count() -> None:
                bar.update(1)
                if is_main and bar.done % self.log_period == 0:
                    seconds = (time.perf_counter() - started) / bar.done
                    log_json_stats(
                        {
                            "_type": f"{self.split}_iter",
                            "iter": CountOf(bar.done, total),
                            "time_diff": seconds,
                            "eta": format_duration(seconds * (total - bar.done)),
                        }
                    )

            with device_errors(self.world.device, *self.memory_remedies):
                evaluation = evaluate(
                    self.scorer,
                    self.loader,
                    num_classes=self.num_classes,
                    ensemble=self.ensemble,
                    world=self.world,
                    interrupt=self.interrupt,
                    on_batch=count,
                )
        if evaluation is None:
            return None
        evaluation.check_complete(self.dataset.num_videos)
        # Scores that are not finite are found without the data set, which knows the paths.
        named = (
            replace(video, path=video.path or self.dataset.paths[video.video_id])
            for video in evaluation.broken
        )
        return replace(evaluation, broken=tuple(named))


def build_split_loader(
    cfg: CfgNode,
    split: str,
    model: Any,
    world: World,
    *,
    batch_size: int | None = None,
    dataset: ViewDataset | None = None,
    annotations: Annotations | None = None,
) -> ClipLoader:
    """Reads the list of ``split`` (``train``, ``val`` or ``test``), and builds the loader of this process.

    Args:
        model: see :func:`build_evaluator`; another one of the same class may be used.
        batch_size: clips per batch of this process; None: its part of the configured ones.
        dataset: used in place of that of the configuration.
        annotations: of the split, where they have been read already.
    """
    dataset = dataset or build_dataset(
        cfg,
        split,
        position_rate=model.position_rate,
        streamed_views=isinstance(model, FrameByFrameModel),
        feature_shape=feature_shape_of(model),
        clip_grid=clip_grid_of(model),
        annotations=annotations,
    )
    return build_loader(
        cfg,
        dataset,
        split,
        rank=world.rank,
        world_size=world.size,
        batch_size=batch_size or cfg[split_section(split)].BATCH_SIZE // world.local_size,
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
        loader: the result of :func:`build_split_loader`; None: it is built here.
    """
    loader = loader or build_split_loader(cfg, split, model, world)
    normalization = frame_normalization(cfg, model)
    scorer = ViewScorer(
        model=network_for(model, loader.dataset, normalization),
        activation=SCORE_ACTIVATION_REGISTRY.get(cfg.MODEL.HEAD_ACT),
        normalization=normalization,
        loss=_build_loss(cfg),
        device=world.device,
        precision=build_precision(cfg, split, world.device),
    )
    _check_scores(cfg)
    section = split_section(split)
    return SplitEvaluator(
        split=split,
        loader=loader,
        scorer=scorer,
        num_classes=cfg.MODEL.NUM_CLASSES,
        ensemble=cfg.DATA.ENSEMBLE_METHOD,
        world=world,
        interrupt=interrupt,
        log_period=cfg.LOG_PERIOD,
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
