"""Testing of a trained model on the test split, and the predictions file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from slowfast.config.derived import uses_tensorboard
from slowfast.datasets.annotations import Annotations
from slowfast.datasets.build import read_lists
from slowfast.datasets.class_names import build_class_names
from slowfast.datasets.groups import groups_by_pattern
from slowfast.datasets.unusable_videos import log_broken
from slowfast.datasets.video_dataset import ViewDataset
from slowfast.distributed.world import World
from slowfast.engine.evaluate import Evaluation
from slowfast.engine.evaluator import SplitEvaluator, build_evaluator, build_split_loader
from slowfast.engine.prediction_file import predictions_of, save_predictions
from slowfast.engine.run_model import build_tested_model, find_tested_weights
from slowfast.engine.testing.order_report import run_order_tests
from slowfast.errors import AnnotationError, ConfigError, DataError, counted
from slowfast.interrupt import Interrupt
from slowfast.log import get_logger, log_json_stats
from slowfast.tracking.trackers import Trackers

logger = get_logger(__name__)

# Named by text, since the visualisation is built on the engine; it is imported only where it is asked for.
_VISUALIZATION = "slowfast.visualization"

_NEEDED_LATER = "(needed for the test after the training; TEST.ENABLE False trains without it)"


@contextmanager
def _needed_later() -> Iterator[None]:
    """Adds to errors of a test's data why they appear before the training."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(*(f"{problem} {_NEEDED_LATER}" for problem in error.problems)) from error
    except (AnnotationError, DataError) as error:
        raise type(error)(f"{error} {_NEEDED_LATER}") from error


@_needed_later()
def read_test_list(cfg: CfgNode) -> dict[str, Annotations]:
    """Reads and checks the list of a later test, before there is a model; see :func:`read_lists`."""
    lists = read_lists(cfg, "test")
    for found in lists.values():
        find_groups(cfg, found)
    return lists


@_needed_later()
def check_test_data(
    cfg: CfgNode, model: Any, world: World, interrupt: Interrupt, annotations: Annotations | None
) -> ViewDataset:
    """Builds the evaluation of a later test, so that its errors appear before the training.

    The list is not kept for the test, which reads it again: for ten million rows, each rank would hold 0.8 GB
    during the training to save 20 seconds.

    Args:
        model: of the training; a test builds its own.
        annotations: the result of :func:`read_test_list`; None for a user's own data set.

    Returns:
        Its data set, to be discarded.

    Raises:
        SlowFastError: as the test would; no video is decoded.
    """
    loader = build_split_loader(cfg, "test", model, world, annotations=annotations)
    build_evaluator(cfg, "test", model, world, interrupt, loader=loader)
    if annotations is None:
        find_groups(cfg, loader.dataset)
    return loader.dataset


def run_test(
    cfg: CfgNode,
    world: World,
    interrupt: Interrupt,
    trackers: Trackers,
    *,
    trained: Path | None,
) -> Evaluation | None:
    """Tests the weights that the configuration names, otherwise those just ``trained``, otherwise the newest.

    Returns:
        The evaluation on rank 0, None on the others.

    Raises:
        CheckpointError: if no weights are found, or they do not fit the model.
        DataError: if no video could be scored.
    """
    weights = world.all_gather_objects(find_tested_weights(cfg, trained) if world.is_main else None)[0]
    lists = read_lists(cfg, "test")
    tested = build_tested_model(cfg, world, weights)
    cfg, model = tested.cfg, tested.model
    logger.info("testing %s", weights)
    trackers.start()
    loader = build_split_loader(cfg, "test", model, world, annotations=lists.get("test"))
    evaluator = build_evaluator(cfg, "test", model, world, interrupt, loader=loader)
    evaluation = evaluator.run()
    if evaluation is not None and (groups := find_groups(cfg, evaluator.dataset)) is not None:
        of_videos = tuple(groups[video] for video in evaluation.video_ids)
        evaluation = dataclasses.replace(evaluation, groups=of_videos)
    names = build_class_names(cfg, tested.class_names)
    if evaluation is not None:
        metrics = _report(cfg, evaluation, evaluator, names, checkpoint=str(weights))
        trackers.summarize({f"Test/{name}": value for name, value in metrics.items()})
        if cfg.TENSORBOARD.MODEL_VIS.ENABLE and uses_tensorboard(cfg):
            write = import_module(f"{_VISUALIZATION}.model_view").build_model_view
            write(cfg, model, evaluator.dataset, names, world.device)
    if cfg.TEST.ORDER_REPORT:
        run_order_tests(cfg, model, evaluator.dataset, world, interrupt, evaluation, names)
    return evaluation


def _report(
    cfg: CfgNode,
    evaluation: Evaluation,
    evaluator: SplitEvaluator,
    class_names: list[str],
    *,
    checkpoint: str,
) -> dict[str, Any]:
    """Logs the result of a test and writes the predictions files; returns the metrics.

    Raises:
        DataError: if no video could be scored.
    """
    if len(evaluation.video_ids) == 0:
        log_broken(evaluation.broken, "test: not scored")
        raise DataError("no test video could be scored; the reasons are listed above")
    metrics = _final_metrics(evaluation, num_videos=evaluator.dataset.num_videos)
    log_json_stats({"_type": "test_final", "split": "test_final", **metrics})
    _log_result(evaluation, metrics)
    predictions = predictions_of(
        evaluation,
        evaluator.dataset,
        class_names,
        {**metrics, "checkpoint": checkpoint, "seconds": evaluation.seconds},
    )
    if cfg.TEST.SAVE_RESULTS_PATH:
        path = Path(cfg.OUTPUT_DIR) / cfg.TEST.SAVE_RESULTS_PATH
        save_predictions(path, predictions)
        logger.info("predictions: %s and .csv", path.with_suffix(".npz"))
    if cfg.TENSORBOARD.WRONG_PRED_VIS.ENABLE and uses_tensorboard(cfg):
        import_module(f"{_VISUALIZATION}.wrong_predictions").build_wrong_predictions(cfg, predictions)
    return metrics


def find_groups(cfg: CfgNode, dataset: ViewDataset | Annotations) -> Sequence[str] | None:
    """Returns the group of each video of the list; None where each video is a group of its own.

    Raises:
        DataError: if ``TEST.GROUP_BY`` does not match a path.
    """
    if cfg.TEST.GROUP_BY:
        return groups_by_pattern(list(dataset.names), cfg.TEST.GROUP_BY, name="TEST.GROUP_BY")
    return dataset.groups


def _final_metrics(evaluation: Evaluation, *, num_videos: int) -> dict[str, Any]:
    """Returns the metrics of a test by name; accuracies and errors in percent, ``map`` in 0 … 1."""
    metrics: dict[str, Any] = {
        "videos": len(evaluation.video_ids),
        "broken_videos": len(evaluation.broken),
        "num_videos": num_videos,
        "views": int(evaluation.num_views.max(initial=0)),
        "time_diff": evaluation.seconds,
        "seconds_per_video": evaluation.seconds_per_video,
    }
    if evaluation.groups:
        metrics["groups"] = len(set(evaluation.groups))
    if evaluation.multi_label:
        return {**metrics, "map": evaluation.mean_average_precision, **_interval_metrics(evaluation)}
    return {
        **metrics,
        "top1_acc": evaluation.top1,
        "top5_acc": evaluation.top5,
        "top1_err": 100.0 - evaluation.top1,
        "top5_err": 100.0 - evaluation.top5,
        **evaluation.class_metrics,
        **_interval_metrics(evaluation),
    }


def _interval_metrics(evaluation: Evaluation) -> dict[str, float]:
    """Returns the known limits of the 95 % intervals as ``NAME_low``, ``NAME_high``, in the unit of NAME."""
    metrics: dict[str, float] = {}
    for name, interval in evaluation.intervals.items():
        if not interval.is_known:
            continue
        scale = 1.0 if name in ("auroc", "map") else 100.0
        metrics |= {f"{name}_low": scale * interval.low, f"{name}_high": scale * interval.high}
    return metrics


def _log_result(evaluation: Evaluation, metrics: dict[str, Any]) -> None:
    """Logs the result of a test as a sentence, and the videos without scores."""
    log_broken(evaluation.broken, "test: not scored, or not in all views")
    logger.info(
        "test: %s over %d of %d videos, %s each, %.3g s per video",
        evaluation.describe_result(),
        metrics["videos"],
        metrics["num_videos"],
        counted(metrics["views"], "view"),
        evaluation.seconds_per_video,
    )
    if evaluation.intervals:
        logger.info("test: %s", evaluation.describe_intervals())
