"""Building of the evaluation of one split from a configuration."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fvcore.common.config import CfgNode

from slowfast.datasets.build import build_dataset
from slowfast.datasets.loading.loader import build_loader
from slowfast.datasets.video_dataset import VideoDataset
from slowfast.distributed.world import World
from slowfast.engine.evaluate import Evaluation, evaluate
from slowfast.interrupt import Interrupt
from slowfast.log import CountOf, get_logger, log_json_stats
from slowfast.models.capabilities import FrameByFrameModel, feature_shape_of
from slowfast.models.feature_head import network_for
from slowfast.models.frame_format import frame_normalization
from slowfast.models.losses import LOSS_REGISTRY, get_loss
from slowfast.models.precision import choose_precision
from slowfast.progress import Progress, format_duration

logger = get_logger(__name__)


@dataclass(frozen=True)
class SplitEvaluator:
    """Evaluates a model on one split, any number of times.

    Attributes:
        dataset: of the split.
        run: evaluates once; returns the evaluation on rank 0 and None on the others.
    """

    dataset: VideoDataset
    run: Callable[[], Evaluation | None]


def build_evaluator(
    cfg: CfgNode, split: str, model: Any, world: World, interrupt: Interrupt
) -> SplitEvaluator:
    """Builds the evaluation of ``model`` on ``split`` (``val`` or ``test``).

    Args:
        model: a :class:`slowfast.models.capabilities.VideoModel` on the device of ``world``.
        interrupt: ends an evaluation after a signal.
    """
    section = cfg.TRAIN if split == "val" else cfg.TEST
    dataset = build_dataset(
        cfg,
        split,
        position_rate=model.position_rate,
        streamed_views=isinstance(model, FrameByFrameModel),
        feature_shape=feature_shape_of(model),
    )
    loader = build_loader(
        cfg,
        dataset,
        split,
        rank=world.rank,
        world_size=world.size,
        batch_size=section.BATCH_SIZE // world.local_size,
        pin_memory=world.device.type == "cuda",
    )
    mean, std = frame_normalization(cfg, model)
    network = network_for(model, dataset, mean=mean, std=std)
    # Evaluation does not mix clips, so a loss of one value per class is undefined for class indices.
    needs_values = LOSS_REGISTRY.labels_of(cfg.MODEL.LOSS_FUNC) == "values"
    loss = None if needs_values and not cfg.DATA.MULTI_LABEL else get_loss(cfg.MODEL.LOSS_FUNC)
    if (
        cfg.DATA.MULTI_LABEL
        and cfg.MODEL.HEAD_ACT == "softmax"
        and cfg.MODEL.LOSS_FUNC != "soft_cross_entropy"
    ):
        logger.warning(
            "MODEL.HEAD_ACT is softmax, so the score of a class depends on the other classes; "
            "sigmoid is usual for videos of several classes"
        )
    precision = choose_precision(mixed=cfg.TRAIN.MIXED_PRECISION, device=world.device)
    # The values are read once, so that a later change of the configuration has no effect.
    ensemble, head_act, period = cfg.DATA.ENSEMBLE_METHOD, cfg.MODEL.HEAD_ACT, cfg.LOG_PERIOD
    num_classes = cfg.MODEL.NUM_CLASSES

    def run() -> Evaluation | None:
        with Progress(len(loader), split, "batch", enabled=world.is_main) as bar:
            started = time.perf_counter()

            def count() -> None:
                bar.update(1)
                if world.is_main and bar.done % period == 0:
                    log_evaluation_step(split, bar.done, len(loader), time.perf_counter() - started)

            evaluation = evaluate(
                network,
                loader,
                num_classes=num_classes,
                ensemble=ensemble,
                head_act=head_act,
                mean=mean,
                std=std,
                loss=loss,
                world=world,
                precision=precision,
                interrupt=interrupt,
                on_batch=count,
            )
        if evaluation is not None:
            evaluation.check_complete(dataset.num_videos)
        return evaluation

    return SplitEvaluator(dataset, run)


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
