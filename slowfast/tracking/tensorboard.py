"""Metrics of a run as TensorBoard events; TensorBoard is imported only if it is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slowfast.tracking.figure_text import as_figure_text, figure_fonts
from slowfast.tracking.tracker import CurveTracker, Outcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class TensorBoard(CurveTracker):
    """Writes event files.

    Args:
        folder: of the event files.
        class_names: in the order of the classes; empty: their numbers are shown.
        confusion: whether each evaluation adds an image of its confusion matrix.
    """

    def __init__(
        self, folder: str | Path, *, class_names: Sequence[str] = (), confusion: bool = False
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        super().__init__()
        self._writer = SummaryWriter(str(folder))
        self._class_names = class_names
        self._confusion = confusion

    def add_description(self, config: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        """Adds the configuration, and git state and system, as text."""
        for title, values in (("config", config), ("environment", environment)):
            lines = [f"    {key}: {value}" for key, value in values.items()]  # shown as they are
            self._writer.add_text(title, "\n".join(lines), 0)

    def rewind(self, step: int) -> None:
        """Hides the points of earlier starts after a step, as SummaryWriter's ``purge_step`` does."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        super().rewind(step)
        restart = Event(session_log=SessionLog(status=SessionLog.START))
        self._writer.file_writer.add_event(restart, step + 1)

    def add_points(self, metrics: Mapping[str, float], step: int) -> None:
        """Adds one point to each curve."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def log_confusion(self, confusion: np.ndarray, step: int) -> None:
        """Adds the image of a confusion matrix (K, K) if that is enabled."""
        if self._confusion:
            with figure_fonts():
                figure = draw_confusion(confusion, self._class_names)
                self._writer.add_figure("Confusion Matrix", figure, step)

    def finish(self, summary: Mapping[str, float], outcome: Outcome) -> None:
        """Adds the final metrics, writes all pending events and closes the files."""
        self.add_final_points(summary)
        self._writer.close()


def event_folder(output_dir: str | Path, log_dir: str, dataset: str) -> Path:
    """Returns the folder of a run's event files.

    Args:
        output_dir: ``OUTPUT_DIR``.
        log_dir: ``TENSORBOARD.LOG_DIR``.
        dataset: ``TRAIN.DATASET``, which names the folder where ``log_dir`` is empty.

    >>> event_folder("run", "", "kinetics").as_posix()
    'run/runs-kinetics'
    """
    return Path(output_dir) / (log_dir or f"runs-{dataset}")


def draw_confusion(confusion: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Draws (K, K) counts, each row as fractions of its class; names are shown for at most 40 classes."""
    from matplotlib.figure import Figure

    fractions = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))
    side = min(12.0, 4.0 + 0.3 * len(confusion))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(fractions, vmin=0.0, vmax=1.0, cmap="Blues")
    figure.colorbar(image, ax=axes, shrink=0.8, label="fraction of the class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(confusion) <= 40 and class_names:
        names = [as_figure_text(name) for name in class_names]
        axes.set_xticks(range(len(confusion)), names, rotation=90)
        axes.set_yticks(range(len(confusion)), names)
    return figure
