"""What training and testing set up alike: the model on its device, normalisation, evaluation of a split."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from slowfast.datasets.build import build_dataset
from slowfast.datasets.loading.loader import build_loader
from slowfast.distributed.world import World
from slowfast.engine.evaluate import Evaluation, evaluate
from slowfast.engine.seeding import seed_generators
from slowfast.interrupt import Interrupt
from slowfast.log import CountOf, get_logger, log_json_stats
from slowfast.models.build import build_model, looks_frame_by_frame
from slowfast.models.complexity import count_parameters, measure_complexity
from slowfast.models.feature_head import network_for
from slowfast.models.losses import get_loss
from slowfast.models.precision import Precision, choose_precision
from slowfast.progress import Progress, format_duration

logger = get_logger(__name__)


def build_seeded_model(cfg: Any, world: World, *, fetch_weights: bool) -> nn.Module:
    """Builds the model of a run on this process's device, with the same initial weights on every rank.

    ``fetch_weights``: see ``slowfast.models.build.build_model``.
    """
    seed_generators(cfg.RNG_SEED)
    return build_model(cfg, fetch_weights=fetch_weights).to(world.device)


def frame_normalization(cfg: Any, model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation per channel, as ``DATA.NORMALIZATION`` says."""
    if cfg.DATA.NORMALIZATION == "backbone":
        return tuple(model.frame_mean), tuple(model.frame_std)  # type: ignore[arg-type]
    return tuple(cfg.DATA.MEAN), tuple(cfg.DATA.STD)


def build_precision(cfg: Any, world: World) -> Precision:
    """The number format that ``TRAIN.MIXED_PRECISION`` asks for on this device."""
    return choose_precision(mixed=cfg.TRAIN.MIXED_PRECISION, device=world.device)


@dataclass(frozen=True)
class SplitEvaluator:
    """Evaluates a model on one split, any number of times.

    Attributes:
        dataset: of the split.
        run: evaluates once; returns the evaluation on rank 0, None elsewhere.
    """

    dataset: Any
    run: Callable[[], Evaluation | None]


def build_evaluator(
    cfg: Any, split: str, model: nn.Module, world: World, interrupt: Interrupt
) -> SplitEvaluator:
    """Prepares the evaluation of ``model`` on ``split`` (``val`` or ``test``) as the configuration says."""
    section = cfg.TRAIN if split == "val" else cfg.TEST
    dataset = build_dataset(
        cfg,
        split,
        position_rate=model.position_rate,
        streamed_views=looks_frame_by_frame(model),
        feature_dim=getattr(model, "feature_dim", None),
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
    # A loss of mixed labels has nothing to say of plain ones.
    wants_values = cfg.MODEL.LOSS_FUNC in ("soft_cross_entropy", "bce_logit") and not cfg.DATA.MULTI_LABEL
    loss = None if wants_values else get_loss(cfg.MODEL.LOSS_FUNC)
    precision = build_precision(cfg, world)
    ensemble = cfg.DATA.ENSEMBLE_METHOD

    def run() -> Evaluation | None:
        with Progress(len(loader), split, "batch", enabled=world.is_main) as progress:
            begun = time.perf_counter()

            def count() -> None:
                progress.update(1)
                if world.is_main and progress.done % cfg.LOG_PERIOD == 0:
                    log_evaluation_step(split, progress.done, len(loader), time.perf_counter() - begun)

            evaluation = evaluate(
                network,
                loader,
                num_classes=cfg.MODEL.NUM_CLASSES,
                ensemble=ensemble,
                head_act=cfg.MODEL.HEAD_ACT,
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
    """Logs how far an evaluation is; ``seconds`` since its start for ``done`` of ``total`` batches."""
    log_json_stats(
        {
            "_type": f"{split}_iter",
            "iter": CountOf(done, total),
            "time_diff": seconds / done,
            "eta": format_duration(seconds / done * (total - done)),
        }
    )


def log_model_info(model: nn.Module, clip: tuple[int, ...]) -> None:
    """Logs the number of parameters, and the multiply-adds of a clip of the shape (3, T, H, W) or (T, F)."""
    total = count_parameters(model)
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    logger.info("model: %s", f"{total:,} parameters, {learning:,} of them learn")
    shown = " × ".join(map(str, clip))
    logger.info("model: %.4g GMACs for a clip of %s", count_gmacs(model, clip), shown)


def count_gmacs(model: nn.Module, clip: tuple[int, ...]) -> float:
    """Counts the multiply-adds of matrix products and convolutions in 10⁹, by running one clip of zeros."""
    zeros = torch.zeros((1, *clip), device=next(model.parameters()).device)
    return measure_complexity(model, zeros).total.total / 1e9
