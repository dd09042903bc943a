"""Tests of a model on the test split with its frames in other orders, see ``TEST.ORDER_REPORT``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from slowfast.datasets.video_dataset import ViewDataset
from slowfast.datasets.views.frame_order import GIVEN, REVERSED, SHUFFLED, STILL
from slowfast.distributed.world import World
from slowfast.engine.evaluate import Evaluation
from slowfast.engine.evaluator import build_evaluation_loader, build_evaluator
from slowfast.engine.prediction_file import Predictions, predictions_of, save_predictions
from slowfast.engine.testing.order_report import OrderReport, compare_orders
from slowfast.interrupt import Interrupt
from slowfast.log import get_logger, log_json_stats

logger = get_logger(__name__)

OTHER_ORDERS = (SHUFFLED, REVERSED, STILL)


def run_order_tests(
    cfg: CfgNode,
    model: Any,
    dataset: ViewDataset,
    world: World,
    interrupt: Interrupt,
    given: Evaluation | None,
    class_names: Sequence[str],
) -> OrderReport | None:
    """Tests the model on other orders of the frames, logs the comparison, and writes predictions files.

    All ranks call it.

    Args:
        model: on its device, with the weights that are tested.
        dataset: of the test, whose list is not read again.
        given: the evaluation of the frames as they are on rank 0, None on the others.
        class_names: K names; used on rank 0.

    Returns:
        The report on rank 0, None on the others.
    """
    found = {}
    for order in OTHER_ORDERS:
        logger.info("test with frames %s", order)
        loader = build_evaluation_loader(cfg, "test", model, world, dataset=dataset.in_order(order))
        evaluator = build_evaluator(cfg, "test", model, world, interrupt, loader=loader)
        evaluation = evaluator.run()
        if evaluation is None:
            continue
        found[order] = evaluation
        if cfg.TEST.SAVE_RESULTS_PATH:
            path = order_path(Path(cfg.OUTPUT_DIR) / cfg.TEST.SAVE_RESULTS_PATH, order)
            save_predictions(path, _predictions(evaluation, evaluator.dataset, class_names, order))
    if given is None:
        return None
    report = compare_orders({GIVEN: given, **found}, list(class_names))
    tops = {f"top1_acc_{one.order}": one.top1 for one in report.accuracies}
    pairs = [f"{report.class_names[pair.first]} / {report.class_names[pair.second]}" for pair in report.pairs]
    log_json_stats({"_type": "test_order", "videos": report.num_videos, **tops, "exchanged": pairs})
    logger.info("test: %s", report.describe())
    return report


def order_path(predictions: Path, order: str) -> Path:
    """Returns the predictions file of another order, beside that of the frames as they are."""
    return predictions.with_name(f"{predictions.stem}_{order}.npz")


def _predictions(
    evaluation: Evaluation, dataset: ViewDataset, class_names: Sequence[str], order: str
) -> Predictions:
    meta = {
        "top1_acc": evaluation.top1,
        "top5_acc": evaluation.top5,
        "frame_order": order,
        "seconds": evaluation.seconds,
        "seconds_per_video": evaluation.seconds_per_video,
    }
    return predictions_of(evaluation, dataset, class_names, meta)
