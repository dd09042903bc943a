"""The log of a training run: lines per step and per epoch, trackers, and the lists of broken videos."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil
import torch

from slowfast.datasets.clip import BrokenVideo
from slowfast.datasets.unusable_videos import log_broken
from slowfast.distributed.device import peak_memory
from slowfast.engine.evaluate import Evaluation
from slowfast.engine.speed.headroom import HeadroomMonitor, StepTimes
from slowfast.engine.training.schedule import Schedule
from slowfast.engine.training.train_step import StepResult
from slowfast.errors import counted
from slowfast.log import CountOf, get_logger, log_json_stats
from slowfast.progress import Progress, format_duration
from slowfast.tracking.trackers import Trackers

logger = get_logger(__name__)

# Metrics of training steps that trackers draw.
_CURVES = ("loss", "lr", "top1_err", "top5_err", "grad_norm", "dt")


@dataclass
class _Sums:
    """Sums over several steps."""

    steps: int = 0
    clips: int = 0
    loss: float = 0.0
    correct1: int = 0
    correct5: int = 0
    by_index: bool = True
    data_seconds: float = 0.0
    step_seconds: float = 0.0
    grad_norm: float = 0.0  # of the last step

    def add(self, result: StepResult, times: StepTimes) -> None:
        self.steps += 1
        self.data_seconds += times.waiting
        self.step_seconds += times.computing
        self.grad_norm = result.grad_norm
        if not result.updated:  # its loss or gradient is not finite
            return
        self.clips += result.clips
        self.loss += result.loss * result.clips
        if result.correct is None:
            self.by_index = False
        else:
            self.correct1 += result.correct.top1
            self.correct5 += result.correct.top5

    def metrics(self) -> dict[str, Any]:
        """Returns means by PySlowFast's names: loss, errors in percent, and seconds per step.

        ``dt`` is ``dt_data``, the time waiting for data, plus ``dt_net``, the time computing.
        """
        clips, steps = max(1, self.clips), max(1, self.steps)
        stats: dict[str, Any] = {
            "dt": (self.data_seconds + self.step_seconds) / steps,
            "dt_data": self.data_seconds / steps,
            "dt_net": self.step_seconds / steps,
            "loss": self.loss / clips if self.clips else float("nan"),
        }
        if self.by_index and self.clips:
            stats["top1_err"] = 100.0 * (1 - self.correct1 / clips)
            stats["top5_err"] = 100.0 * (1 - self.correct5 / clips)
        return stats


@dataclass
class TrainingLog:
    """Logs the metrics of a training run on rank 0.

    Attributes:
        schedule: of the run.
        period: steps between two lines.
        enabled: whether this process logs.
        device: of the model; its memory is logged.
        trackers: get the same metrics.
        headroom: watches the first steps, and tells once whether loading limits them.
    """

    schedule: Schedule
    period: int
    enabled: bool
    device: torch.device
    trackers: Trackers
    headroom: HeadroomMonitor
    _window: _Sums = field(default_factory=_Sums)
    _epoch_sums: _Sums = field(default_factory=_Sums)

    @property
    def _last_step(self) -> int:
        return self.schedule.steps_to(self.schedule.end)

    def state_dict(self) -> dict[str, Any]:
        """Returns the sums over the steps of the current epoch, which are saved with the run."""
        return {"epoch_sums": asdict(self._epoch_sums)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned; an empty state changes nothing."""
        if state:
            self._epoch_sums = _Sums(**state["epoch_sums"])

    def begin_epoch(self, epoch: int, step: int) -> Progress:
        """Starts epoch ``epoch`` at step ``step``, both from 0; returns its progress bar."""
        self._window = _Sums()
        if step == 0:  # otherwise an earlier start has done the steps before
            self._epoch_sums = _Sums()
        remaining = min(
            self.schedule.steps_per_epoch - step,
            self._last_step - epoch * self.schedule.steps_per_epoch - step,
        )
        return Progress(
            remaining, f"epoch {epoch + 1}/{self.schedule.max_epoch}", "step", enabled=self.enabled
        )

    def add_step(self, epoch: int, step: int, result: StepResult, *, lr: float, times: StepTimes) -> None:
        """Adds step ``step`` (from 0) of an epoch, and logs a line every ``period`` steps."""
        self._window.add(result, times)
        self._epoch_sums.add(result, times)
        if not self.enabled:
            return
        if (headroom := self.headroom.observe(times)) is not None:
            logger.info("speed: %s", headroom.describe())
            log_json_stats(headroom.stats())
        if (step + 1) % self.period:
            return
        metrics = self._window.metrics()
        done = epoch * self.schedule.steps_per_epoch + step + 1
        stats = {
            "_type": "train_iter",
            "epoch": CountOf(epoch + 1, self.schedule.max_epoch),
            "iter": CountOf(step + 1, self.schedule.steps_per_epoch),
            "epochs_done": epoch + (step + 1) / self.schedule.steps_per_epoch,
            "eta": format_duration(metrics["dt"] * (self._last_step - done)),
            "lr": lr,
            "grad_norm": result.grad_norm,
            **metrics,
            **memory_metrics(self.device),
        }
        log_json_stats(stats)
        self._draw_window(done, lr)

    def _draw_window(self, done: int, lr: float) -> None:
        """Gives the trackers the metrics of the steps since the last call, the last of which is ``done``."""
        stats = {**self._window.metrics(), "lr": lr, "grad_norm": self._window.grad_norm}
        self._window = _Sums()
        self.trackers.log({f"Train/{name}": stats[name] for name in _CURVES if name in stats}, done)

    def end_epoch(self, epoch: int, done: int, *, lr: float, broken: Iterable[BrokenVideo]) -> None:
        """Logs the line of an epoch and its broken videos.

        Args:
            done: optimiser steps since the start of the run.
            broken: of all ranks; may contain a video several times.
        """
        if not self.enabled:
            return
        if self._window.steps:  # an epoch may be shorter than the period
            self._draw_window(done, lr)
        metrics = self._epoch_sums.metrics()
        videos = {video.video_id: video for video in broken}
        log_json_stats(
            {
                "_type": "train_epoch",
                "epoch": CountOf(epoch + 1, self.schedule.max_epoch),
                "eta": format_duration(metrics["dt"] * (self._last_step - done)),
                "lr": lr,
                "broken_videos": len(videos),
                **metrics,
                **memory_metrics(self.device),
            }
        )
        logger.info("%s", describe_epoch(epoch + 1, self.schedule.max_epoch, metrics))
        log_broken(videos.values(), f"epoch {epoch + 1}: replaced by other videos")

    def add_validation(
        self, done: int, evaluation: Evaluation, metrics: Mapping[str, float], lowest: Mapping[str, float]
    ) -> None:
        """Logs a validation after ``done`` optimiser steps.

        Args:
            metrics: those of ``evaluation``.
            lowest: the lowest errors of the validations so far, by their names.
        """
        epoch = CountOf(-(-done // self.schedule.steps_per_epoch), self.schedule.max_epoch)
        log_json_stats(
            {
                "_type": "val_epoch",
                "epoch": epoch,
                "time_diff": evaluation.seconds,
                **metrics,
                **{f"min_{name}": value for name, value in lowest.items()},
                **memory_metrics(self.device),
            }
        )
        logger.info("%s", describe_validation(epoch, metrics, lowest))
        videos = counted(len(evaluation.video_ids), "video")
        log_broken(evaluation.broken, f"validation over {videos}; without scores")
        named = {f"Val/{name}": value for name, value in metrics.items()}
        self.trackers.log(named, done)
        self.trackers.summarize(named)
        if metrics["videos"] and not evaluation.multi_label:
            self.trackers.log_confusion(evaluation.confusion, done)


def describe_epoch(epoch: int, max_epoch: int, metrics: Mapping[str, float]) -> str:
    """Returns an epoch's metrics as a sentence. Advice against waiting is in the line on the headroom."""
    accuracy = f", top-1 {100 - metrics['top1_err']:.2f} %" if "top1_err" in metrics else ""
    waiting = metrics["dt_data"] / max(metrics["dt"], 1e-9)
    return (
        f"epoch {epoch}/{max_epoch}: loss {metrics['loss']:.4f}{accuracy}, {metrics['dt']:.3g} s per step, "
        f"{100 * waiting:.0f} % of it waiting for data"
    )


def describe_validation(epoch: CountOf, metrics: Mapping[str, float], lowest: Mapping[str, float]) -> str:
    """Returns a validation as a sentence; ``lowest`` has the lowest errors of the run so far."""
    if metrics["videos"] == 0:
        return f"validation in epoch {epoch}/{epoch.total}: no video could be scored"
    accuracy = f"mAP {metrics['map']:.4f}" if "map" in metrics else f"top-1 {100 - metrics['top1_err']:.2f} %"
    best = f"; highest top-1 so far {100 - lowest['top1_err']:.2f} %" if "top1_err" in lowest else ""
    loss = "" if math.isnan(metrics["loss"]) else f"loss {metrics['loss']:.4f}, "
    return (
        f"validation in epoch {epoch}/{epoch.total}: {loss}{accuracy} over "
        f"{counted(int(metrics['videos']), 'video')}{best}"
    )


def validation_metrics(evaluation: Evaluation) -> dict[str, float]:
    """Returns the metrics of an evaluation by PySlowFast's names; errors in percent, ``map`` in 0 … 1.

    Without a scored video there are only the counts: an error of 100 % would look like a result.
    """
    counts: dict[str, float] = {"videos": len(evaluation.video_ids), "broken_videos": len(evaluation.broken)}
    if not counts["videos"]:
        return counts
    metrics = {"loss": evaluation.loss, **counts}
    if evaluation.multi_label:
        return {**metrics, "map": evaluation.mean_average_precision}
    return {
        **metrics,
        "top1_err": 100.0 - evaluation.top1,
        "top5_err": 100.0 - evaluation.top5,
        **evaluation.class_metrics,
    }


def memory_metrics(device: torch.device) -> dict[str, float]:
    """Returns the memory of this process in GiB: resident, and the peak on its device if that is a GPU."""
    metrics = {"mem": psutil.Process().memory_info().rss / 2**30}
    if (peak := peak_memory(device)) is not None:
        metrics["gpu_mem"] = peak / 2**30
    return metrics
