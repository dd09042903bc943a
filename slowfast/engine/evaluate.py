"""The one evaluation: validation, several views, whole videos; over any number of processes.

V videos, B views of a batch, K classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from slowfast.datasets.clip import BrokenVideo, ClipBatch, StreamedClip, map_tensors
from slowfast.distributed.world import World
from slowfast.engine.long_clip import classify_long_view
from slowfast.errors import ConfigError, DataError, DecodeError, NotFiniteError
from slowfast.features.batch import FeatureBatch
from slowfast.interrupt import Interrupt
from slowfast.metrics import confusion_matrix, mean_average_precision, per_class_accuracy, topk_correct
from slowfast.models.losses import LossFunction
from slowfast.models.precision import Precision

HEAD_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda logits: logits.softmax(dim=1),
    "sigmoid": torch.sigmoid,
    "none": lambda logits: logits,
}


@dataclass(frozen=True)
class Evaluation:
    """Scores of a split, each video once, ordered by ``video_ids``.

    Attributes:
        video_ids: (V,) int64, rows of the annotation file.
        scores: (V, K) float32, merged over the views.
        labels: (V,) int64 class indices, or (V, K) float32.
        num_views: (V,) int64, views that the scores were merged from.
        broken: videos that have no scores, or not of all their views, with the reason; those without any
            view are in no other attribute.
        loss: mean over the views; NaN where the labels do not go with the loss.
        seconds: time of the slowest process, start to end.
    """

    video_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    labels: NDArray[Any]
    num_views: NDArray[np.int64]
    broken: tuple[BrokenVideo, ...]
    loss: float
    seconds: float

    @property
    def multi_label(self) -> bool:
        return self.labels.ndim == 2

    def check_complete(self, num_videos: int) -> None:
        """Raises ``DataError`` unless each of the split's videos was scored or reported as broken."""
        known = {*self.video_ids.tolist(), *(video.video_id for video in self.broken)}
        if lost := sorted(set(range(num_videos)) - known):
            raise DataError(
                f"{len(lost)} of {num_videos} videos were never handed out; the first: {lost[:10]}"
            )

    @property
    def seconds_per_video(self) -> float:
        return self.seconds / max(1, len(self.video_ids))

    @cached_property
    def accuracy(self) -> dict[int, float]:
        """Top-1 and top-5 accuracy in percent over the videos with scores, by k."""
        counts = topk_correct(torch.from_numpy(self.scores), torch.from_numpy(self.labels), (1, 5))
        return {k: 100.0 * int(n) / max(1, len(self.labels)) for k, n in zip((1, 5), counts, strict=True)}

    @property
    def top1(self) -> float:
        return self.accuracy[1]

    @property
    def top5(self) -> float:
        return self.accuracy[5]

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """(K, K) counts, row = true class, column = predicted class."""
        return confusion_matrix(self.scores.argmax(axis=1), self.labels, self.scores.shape[1])

    @cached_property
    def per_class(self) -> NDArray[np.float64]:
        """(K,) accuracy of each class in 0 … 1; NaN for classes without videos."""
        return per_class_accuracy(self.confusion)

    @cached_property
    def mean_average_precision(self) -> float:
        """Mean over the classes in 0 … 1, for labels (V, K)."""
        return mean_average_precision(self.scores, self.labels > 0)


@dataclass
class _Scores:
    """Scores of this process's videos, merged as their views come; on the CPU."""

    method: str
    merged: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    labels: dict[int, Any] = field(default_factory=dict)
    views: dict[int, set[int]] = field(default_factory=dict)
    broken: dict[int, BrokenVideo] = field(default_factory=dict)
    loss_sum: float = 0.0
    num_scored: int = 0

    def add(self, video: int, view: int, label: Any, scores: NDArray[np.float32]) -> None:
        seen = self.views.setdefault(video, set())
        if view in seen:
            raise DataError(f"view {view} of video {video} was handed out twice; each must be scored once")
        seen.add(view)
        if video not in self.merged:
            self.merged[video], self.labels[video] = scores.copy(), label
        elif self.method == "max":
            np.maximum(self.merged[video], scores, out=self.merged[video])
        else:
            self.merged[video] += scores

    def absorb(self, other: _Scores) -> None:
        """Takes over what another process scored; views of one video may have been on both."""
        for video, scores in other.merged.items():
            views = other.views[video]
            if overlap := views & self.views.get(video, set()):
                raise DataError(f"view {min(overlap)} of video {video} was scored by two processes")
            first = min(views)
            self.add(video, first, other.labels[video], scores)
            self.views[video] |= views
        self.broken.update(other.broken)
        self.loss_sum += other.loss_sum
        self.num_scored += other.num_scored


@torch.no_grad()
def evaluate(
    model: nn.Module,
    loader: Iterable[ClipBatch | FeatureBatch],
    *,
    num_classes: int,
    ensemble: str = "sum",
    head_act: str = "softmax",
    mean: Sequence[float],
    std: Sequence[float],
    loss: LossFunction | None = None,
    world: World = World(),  # noqa: B008 (immutable)
    precision: Precision = Precision(),  # noqa: B008 (immutable)
    interrupt: Interrupt | None = None,
    on_batch: Callable[[], None] = lambda: None,
) -> Evaluation | None:
    """Scores every view that the loaders of all ranks hand out and merges them by video.

    Args:
        model: unwrapped; set to evaluation mode here and back to what it was.
        loader: this rank's batches; over the ranks each view of each video comes once. Long views, which
            come without their frames, are decoded here and go through the model in chunks.
        ensemble: ``sum`` (the mean over the views: the same order as their sum, and it stays in the range
            of one view's scores) or ``max``.
        head_act: what turns logits into scores before views are merged: softmax, sigmoid, none.
        mean, std: normalisation of the frames, per channel.
        loss: to compute the mean loss over the views as well.
        interrupt: raises ``Interrupted`` between two batches (or chunks) once a signal has come.
        on_batch: called after each batch.

    Returns:
        The evaluation on rank 0, None on the others.
    """
    if ensemble not in ("sum", "max"):
        raise ConfigError(f"DATA.ENSEMBLE_METHOD = {ensemble!r}: known are sum and max")
    if head_act not in HEAD_ACTIVATIONS:
        raise ConfigError(f"MODEL.HEAD_ACT = {head_act!r}: known are {', '.join(HEAD_ACTIVATIONS)}")
    scorer = _Scorer(
        model, HEAD_ACTIVATIONS[head_act], tuple(mean), tuple(std), loss, world.device, precision
    )
    scores = _Scores(ensemble)
    was_training = model.training
    model.eval()
    start = time.perf_counter()
    for batch in loader:
        if interrupt is not None:
            interrupt.raise_if_requested()
        scores.broken.update({video.video_id: video for video in batch.broken})
        if batch.num_clips > 0:
            scorer.score(batch, into=scores)
        for clip in batch.streamed:
            scorer.score_long(clip, into=scores, interrupt=interrupt)
        on_batch()
    seconds = time.perf_counter() - start
    model.train(was_training)
    gathered = world.gather_objects((scores, seconds))
    if not world.is_main:
        return None
    for other, _ in gathered[1:]:
        scores.absorb(other)
    return _finish(scores, num_classes, max(seconds for _, seconds in gathered))


@dataclass(frozen=True)
class _Scorer:
    """Scores the views of a batch; see :func:`evaluate` for what it works with."""

    model: nn.Module
    activation: Callable[[Tensor], Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    loss: LossFunction | None
    device: torch.device
    precision: Precision

    def score(self, batch: ClipBatch | FeatureBatch, *, into: _Scores) -> None:
        on_device = batch.to(self.device)
        try:
            with self.precision.autocast():
                inputs = on_device.inputs(self.mean, self.std)
                logits = self.model(inputs, on_device.positions, on_device.mask)  # (B, K)
        except NotFiniteError as error:
            self._leave_out(batch, error, into)
            return
        places = list(zip(batch.video_id.tolist(), batch.view_id.tolist(), strict=True))
        self._add(logits.float(), batch.label, places, into)

    def score_long(self, clip: StreamedClip, *, into: _Scores, interrupt: Interrupt | None) -> None:
        try:
            with self.precision.autocast():
                logits = classify_long_view(
                    self.model,
                    clip.view,
                    mean=self.mean,
                    std=self.std,
                    device=self.device,
                    on_chunk=(lambda: None) if interrupt is None else interrupt.raise_if_requested,
                )
        except NotFiniteError as error:
            into.broken[clip.video_id] = _not_finite(clip.video_id, clip.view_id, error)
        except DecodeError as error:
            into.broken[clip.video_id] = BrokenVideo(
                clip.video_id, clip.view.path, error.reason, error.detail
            )
        else:
            label = torch.as_tensor(clip.label)[None]
            self._add(logits.float(), label, [(clip.video_id, clip.view_id)], into)

    def _leave_out(self, batch: ClipBatch | FeatureBatch, error: NotFiniteError, into: _Scores) -> None:
        """Scores a batch without the clips for which the model has no finite result."""
        if not error.clips:
            raise error
        for row in error.clips:
            video = int(batch.video_id[row])
            into.broken[video] = _not_finite(video, int(batch.view_id[row]), error)
        rest = [row for row in range(batch.num_clips) if row not in error.clips]
        if rest:
            self.score(map_tensors(batch, lambda tensor: tensor[rest]), into=into)

    def _add(self, logits: Tensor, labels: Tensor, places: list[tuple[int, int]], into: _Scores) -> None:
        """Adds B views at (video, view) by their logits (B, K)."""
        if self.loss is not None:
            into.loss_sum += float(self.loss(logits, labels.to(logits.device))) * len(logits)
            into.num_scored += len(logits)
        finite = logits.isfinite().all(dim=1).tolist()
        rows = self.activation(logits).cpu().numpy()
        for (video, view), label, row, usable in zip(places, labels.numpy(), rows, finite, strict=True):
            if usable:
                into.add(video, view, label, row)
            else:
                into.broken[video] = _not_finite(video, view)


def _not_finite(video: int, view: int, error: NotFiniteError | None = None) -> BrokenVideo:
    detail = f"the scores of view {view}" + (f": {error}" if error else "")
    return BrokenVideo(video, "", "not finite", detail)


def _finish(scores: _Scores, num_classes: int, seconds: float) -> Evaluation:
    ids = sorted(scores.merged)
    counts = np.array([len(scores.views[video]) for video in ids], dtype=np.int64)
    merged = np.zeros((len(ids), num_classes), dtype=np.float32)
    for row, video in enumerate(ids):
        merged[row] = scores.merged[video]
    if scores.method == "sum":
        merged /= counts[:, None].clip(min=1)
    labels = np.stack([scores.labels[video] for video in ids]) if ids else np.zeros(0, dtype=np.int64)
    return Evaluation(
        video_ids=np.array(ids, dtype=np.int64),
        scores=merged,
        labels=labels,
        num_views=counts,
        broken=tuple(scores.broken[video] for video in sorted(scores.broken)),
        loss=scores.loss_sum / scores.num_scored if scores.num_scored else float("nan"),
        seconds=seconds,
    )
