"""Figures of a run as TensorBoard events; imported only through :func:`open_tensorboard` when enabled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slowfast.datasets.class_names import read_class_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from slowfast.engine.evaluate import Evaluation


class TensorBoard:
    """Writes event files.

    Args:
        folder: of the event files.
        class_names: in the order of the classes; empty: numbers are shown.
        confusion: whether evaluations add a picture of their confusion matrix.
    """

    def __init__(
        self, folder: str | Path, *, class_names: Sequence[str] = (), confusion: bool = False
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))
        self._class_names = class_names
        self._confusion = confusion

    def add_scalars(self, figures: Mapping[str, float], step: int) -> None:
        """Adds one point to each curve."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def add_evaluation(self, evaluation: Evaluation, step: int) -> None:
        """Adds the confusion matrix of an evaluation, where it was asked for and there is one."""
        if self._confusion and not evaluation.multi_label:
            figure = draw_confusion(evaluation.confusion, self._class_names)
            self._writer.add_figure("Confusion Matrix", figure, step)

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()


def open_tensorboard(cfg: Any) -> TensorBoard | None:
    """Returns the writer that ``cfg.TENSORBOARD`` describes, None when it is not enabled."""
    if not cfg.TENSORBOARD.ENABLE:
        return None
    name = cfg.TENSORBOARD.LOG_DIR or f"runs-{cfg.TRAIN.DATASET}"
    return TensorBoard(
        Path(cfg.OUTPUT_DIR) / name,
        class_names=read_class_names(cfg.TENSORBOARD.CLASS_NAMES_PATH, cfg.MODEL.NUM_CLASSES),
        confusion=cfg.TENSORBOARD.CONFUSION_MATRIX.ENABLE,
    )


def draw_confusion(confusion: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Draws (K, K) counts, each row as shares of its class; names appear up to 40 classes."""
    from matplotlib.figure import Figure

    shares = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))
    side = min(12.0, 4.0 + 0.3 * len(confusion))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, vmin=0.0, vmax=1.0, cmap="Blues")
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(confusion) <= 40 and class_names:
        axes.set_xticks(range(len(confusion)), class_names, rotation=90)
        axes.set_yticks(range(len(confusion)), class_names)
    return figure
