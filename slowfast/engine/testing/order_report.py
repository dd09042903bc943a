"""Sensitivity of a model to the order of frames: tests of the same videos in several orders, and their
comparison. See ``TEST.ORDER_REPORT``.

V videos, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fvcore.common.config import CfgNode
from numpy.typing import NDArray

from slowfast.datasets.video_dataset import ViewDataset
from slowfast.datasets.views.frame_order import GIVEN, REVERSED, SHUFFLED, STILL
from slowfast.distributed.world import World
from slowfast.engine.evaluate import Evaluation
from slowfast.engine.evaluator import build_evaluator, build_split_loader
from slowfast.engine.prediction_file import predictions_of, save_predictions
from slowfast.engine.video_scores import VideoScores
from slowfast.interrupt import Interrupt
from slowfast.log import get_logger, log_json_stats
from slowfast.metrics.accuracy import confusion_matrix, none_if_nan, per_class_accuracy

logger = get_logger(__name__)

OTHER_ORDERS = (SHUFFLED, REVERSED, STILL)

ORDER_NAMES = {
    GIVEN: "as they are",
    SHUFFLED: "shuffled",
    REVERSED: "reversed",
    STILL: "one frame only",
}
"""Order -> its name in tables."""

EXCHANGED = 0.5
"""Two classes are exchanged if reversal turns at least this fraction of each into the other."""


@dataclass(frozen=True)
class OrderAccuracy:
    """The accuracy in one order of the frames.

    Attributes:
        order: a key of :data:`ORDER_NAMES`.
        top1: in percent.
        per_class: (K,) float64 in 0 … 1; NaN for classes without videos.
    """

    order: str
    top1: float
    per_class: NDArray[np.float64]


@dataclass(frozen=True)
class ExchangedPair:
    """Two classes that reversal exchanges.

    Attributes:
        first, second: the classes, 0 … K − 1.
        first_to_second: fraction of the videos of the first class, of those predicted correctly as they are,
            that are predicted as the second one when their frames are reversed.
        second_to_first: the same with the classes exchanged.
    """

    first: int
    second: int
    first_to_second: float
    second_to_first: float


@dataclass(frozen=True)
class OrderReport:
    """The comparison of all orders.

    Attributes:
        class_names: K names.
        num_videos: videos that have scores in all orders, over which all values are.
        accuracies: one per order, that of the frames as they are first.
        pairs: classes that reversal exchanges, the clearest first.
    """

    class_names: tuple[str, ...]
    num_videos: int
    accuracies: tuple[OrderAccuracy, ...]
    pairs: tuple[ExchangedPair, ...]

    def describe(self) -> str:
        """Returns the accuracies and the exchanged pairs as text."""
        found = ", ".join(f"{ORDER_NAMES[one.order]} {one.top1:.2f} %" for one in self.accuracies)
        lines = [f"top-1 by the order of frames over {self.num_videos} videos: {found}"]
        for pair in self.pairs:
            names = self.class_names[pair.first], self.class_names[pair.second]
            lines.append(
                f"reversal exchanges {names[0]} and {names[1]}: {100 * pair.first_to_second:.0f} % and "
                f"{100 * pair.second_to_first:.0f} % of their videos"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON; accuracies are in percent, None for classes without videos."""
        return {
            "videos": self.num_videos,
            "orders": {
                one.order: {
                    "top1_acc": one.top1,
                    "per_class_acc": {
                        name: none_if_nan(100.0 * value)
                        for name, value in zip(self.class_names, one.per_class, strict=True)
                    },
                }
                for one in self.accuracies
            },
            "exchanged_by_reversal": [
                {
                    "classes": [self.class_names[pair.first], self.class_names[pair.second]],
                    "first_to_second": pair.first_to_second,
                    "second_to_first": pair.second_to_first,
                }
                for pair in self.pairs
            ],
        }


def compare_orders(tests: Mapping[str, VideoScores], class_names: list[str]) -> OrderReport:
    """Compares tests of the same videos, with one class each, whose frames were in several orders.

    Args:
        tests: order -> scores; ``given`` is the first one.
        class_names: K names.
    """
    scored = [set(test.video_ids.tolist()) for test in tests.values()]
    common = np.array(sorted(set.intersection(*scored)), dtype=np.int64)
    rows = {order: np.searchsorted(test.video_ids, common) for order, test in tests.items()}
    labels = tests[GIVEN].labels[rows[GIVEN]]
    predicted = {order: test.predicted[rows[order]] for order, test in tests.items()}
    confusions = {
        order: confusion_matrix(classes, labels, len(class_names)) for order, classes in predicted.items()
    }
    accuracies = tuple(
        OrderAccuracy(order, 100.0 * float(np.trace(found)) / max(1, len(common)), per_class_accuracy(found))
        for order, found in confusions.items()
    )
    pairs: tuple[ExchangedPair, ...] = ()
    if REVERSED in tests:
        right = predicted[GIVEN] == labels
        turned = confusion_matrix(predicted[REVERSED][right], labels[right], len(class_names))
        pairs = tuple(_exchanged(turned))
    return OrderReport(tuple(class_names), len(common), accuracies, pairs)


def _exchanged(turned: NDArray[np.int64]) -> list[ExchangedPair]:
    """Returns the pairs of classes that reversal exchanges.

    Args:
        turned: (K, K), rows are true classes, columns those predicted from reversed frames.
    """
    fractions = turned / np.maximum(turned.sum(axis=1, keepdims=True), 1)
    weaker = np.triu(np.minimum(fractions, fractions.T), k=1)
    firsts, seconds = np.nonzero(weaker >= EXCHANGED)
    pairs = [
        ExchangedPair(int(i), int(j), float(fractions[i, j]), float(fractions[j, i]))
        for i, j in zip(firsts, seconds, strict=True)
    ]
    return sorted(pairs, key=lambda pair: -(pair.first_to_second + pair.second_to_first))


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
        loader = build_split_loader(cfg, "test", model, world, dataset=dataset.in_order(order))
        evaluator = build_evaluator(cfg, "test", model, world, interrupt, loader=loader)
        evaluation = evaluator.run()
        if evaluation is None:
            continue
        found[order] = evaluation
        if cfg.TEST.SAVE_RESULTS_PATH:
            meta = {
                "top1_acc": evaluation.top1,
                "top5_acc": evaluation.top5,
                "frame_order": order,
                "seconds": evaluation.seconds,
                "seconds_per_video": evaluation.seconds_per_video,
            }
            path = order_path(Path(cfg.OUTPUT_DIR) / cfg.TEST.SAVE_RESULTS_PATH, order)
            save_predictions(path, predictions_of(evaluation, evaluator.dataset, class_names, meta))
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
