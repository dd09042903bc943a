"""Evaluation of a model on a split, for validation and tests, over any number of processes.

Views may be clips, several per video, or full videos; the scores of a video's views are merged.

V videos, B views of a batch, K classes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from slowfast.datasets.clip import Batch, BrokenVideo, Normalization, StreamedClip
from slowfast.distributed.world import World
from slowfast.engine.video_scores import VideoScores, finish_merge, merge_view
from slowfast.errors import ConfigError, DataError, DecodeError, NotFiniteError
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.log import get_logger, log_once
from slowfast.models.adapter import describe_returned
from slowfast.models.frame_encoder import FrameEncoder
from slowfast.models.inference.clip_logits import compute_logits
from slowfast.models.inference.streamed_logits import classify_streamed_view
from slowfast.models.losses import LossFunction
from slowfast.models.objective.training_loss import require_mean
from slowfast.models.precision import Precision
from slowfast.models.score_activations import ScoreActivation, are_distributions, softmax

logger = get_logger(__name__)

_ACTIVATED_TWICE = (
    "the outputs of the model are in 0 … 1 and sum to 1 over the classes, as scores after a softmax, and "
    "MODEL.HEAD_ACT softmax is applied to them once more: the loss of evaluations, merged views and "
    "calibration are then wrong. Remove the activation from the model's forward, which must return logits in "
    "evaluation, too; or set MODEL.HEAD_ACT none, with which the loss stays wrong"
)


@dataclass(frozen=True, kw_only=True)
class Evaluation(VideoScores):
    """Scores of a split, with the loss and the time of the evaluation.

    Attributes:
        loss: mean over the views; NaN if it was not computed.
        seconds: time of the slowest process from start to end.
    """

    loss: float
    seconds: float

    def check_complete(self, num_videos: int) -> None:
        """Raises ``DataError`` unless every video of the split was scored or reported as broken.

        Args:
            num_videos: of the split.
        """
        known = {*self.video_ids.tolist(), *(video.video_id for video in self.broken)}
        if lost := sorted(set(range(num_videos)) - known):
            raise DataError(
                f"{len(lost)} of {num_videos} videos were not read by any rank; the first: {lost[:10]}"
            )

    @property
    def seconds_per_video(self) -> float:
        """Mean time per video with scores."""
        return self.seconds / max(1, len(self.video_ids))


@dataclass
class _Scores:
    """Scores of this process's videos on the CPU, merged view by view."""

    method: str
    merged: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    labels: dict[int, Any] = field(default_factory=dict)
    views: dict[int, set[int]] = field(default_factory=dict)
    broken: dict[int, BrokenVideo] = field(default_factory=dict)
    loss_sum: float = 0.0
    num_scored: int = 0

    def add(self, video: int, view: int, label: Any, scores: NDArray[np.float32]) -> None:
        """Merges the scores (K,) of one view into those of its video."""
        seen = self.views.setdefault(video, set())
        if view in seen:
            raise DataError(f"view {view} of video {video} was read twice; each must be scored once")
        seen.add(view)
        if video not in self.merged:
            self.merged[video], self.labels[video] = scores.copy(), label
        else:
            merge_view(self.merged[video], scores, self.method)

    def absorb(self, other: _Scores) -> None:
        """Merges the scores of another process; the views of a video may be divided between both."""
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
    scorer: ViewScorer,
    loader: Iterable[Batch],
    *,
    num_classes: int,
    ensemble: str,
    world: World,
    interrupt: Interrupt,
    on_batch: Callable[[], None] = lambda: None,
) -> Evaluation | None:
    """Scores every view in the loaders of all ranks and merges the scores by video.

    Args:
        scorer: its model is evaluated in evaluation mode and then set back to its former mode.
        loader: this rank's batches; each view of each video is in the loader of exactly one rank. The frames
            of streamed views are decoded here, and the model encodes them in chunks.
        ensemble: ``max``, or ``sum``, which takes the mean over the views: it has the order of their sum, and
            the range of one view's scores.
        interrupt: ends the evaluation between two batches or chunks after a signal.
        on_batch: called after each batch; of batches that belong together, after the last one.

    Returns:
        The evaluation on rank 0, None on the others.

    Raises:
        DataError: if a view was read twice.
        Interrupted: after a signal to any rank, on all ranks.
    """
    scores = _Scores(ensemble)
    start = time.perf_counter()
    signum = 0
    try:
        scorer.score_all(loader, into=scores, interrupt=interrupt, on_batch=on_batch)
    except Interrupted as interrupted:
        signum = interrupted.signum
    seconds = time.perf_counter() - start
    # If a rank left by itself, those that have scored all their views would wait for its scores.
    if signum := max(world.all_gather_objects(signum)):
        raise Interrupted(signum)
    gathered = world.gather_objects((scores, seconds))
    if not world.is_main:
        return None
    for other, _ in gathered[1:]:
        scores.absorb(other)
    return _finish(scores, num_classes, max(seconds for _, seconds in gathered))


@dataclass(frozen=True, kw_only=True)
class ViewScorer:
    """A model with all that turns views into scores.

    Attributes:
        model: unwrapped, on ``device``.
        activation: from logits to scores, applied before views are merged.
        normalization: of the frames.
        loss: maps logits and labels to the mean loss of a batch; None: no loss is computed.
    """

    model: nn.Module
    activation: ScoreActivation
    normalization: Normalization
    loss: LossFunction | None
    device: torch.device
    precision: Precision

    def score_all(
        self, loader: Iterable[Batch], *, into: _Scores, interrupt: Interrupt, on_batch: Callable[[], None]
    ) -> None:
        """Adds the scores of all views, in evaluation mode; see :func:`evaluate`."""
        was_training = self.model.training
        self.model.eval()
        try:
            for batch in loader:
                interrupt.raise_if_requested()
                into.broken.update({video.video_id: video for video in batch.broken})
                if batch.num_clips > 0:
                    self.score(batch, into=into)
                for clip in batch.streamed:
                    self.score_streamed(clip, into=into, interrupt=interrupt)
                if not batch.is_continued:
                    on_batch()
        finally:
            self.model.train(was_training)

    def score(self, batch: Batch, *, into: _Scores) -> None:
        """Adds the scores of all clips of a batch; clips that the model rejects are added as broken."""
        found = compute_logits(
            self.model,
            batch.to(self.device),
            normalization=self.normalization,
            precision=self.precision,
        )
        keys = list(zip(batch.video_id.tolist(), batch.view_id.tolist(), strict=True))
        for row, error in found.errors.items():
            video, view = keys[row]
            into.broken[video] = _not_finite(video, view, error)
        if found.rows:
            self._add(found.logits, batch.label[found.rows], [keys[row] for row in found.rows], into)

    def score_streamed(self, clip: StreamedClip, *, into: _Scores, interrupt: Interrupt) -> None:
        """Adds the scores of a streamed view, or its video as broken."""
        try:
            with self.precision.autocast():
                logits = classify_streamed_view(
                    FrameEncoder(self.model, self.normalization, self.device, self.precision),
                    clip.view,
                    on_chunk=interrupt.raise_if_requested,
                )
        except NotFiniteError as error:
            into.broken[clip.video_id] = _not_finite(clip.video_id, clip.view_id, error)
        except DecodeError as error:
            into.broken[clip.video_id] = BrokenVideo(
                clip.video_id, clip.view.path, error.reason, error.detail
            )
        except (OSError, MemoryError) as error:
            into.broken[clip.video_id] = BrokenVideo(clip.video_id, clip.view.path, "unreadable", repr(error))
        else:
            label = torch.as_tensor(clip.label)[None]
            self._add(logits.float(), label, [(clip.video_id, clip.view_id)], into)

    def _add(self, logits: Tensor, labels: Tensor, keys: list[tuple[int, int]], into: _Scores) -> None:
        """Adds the logits (B, K) of B views; ``keys`` are their (video, view)."""
        logits = logits.cpu()  # once: each later question would make the host wait for the device again
        finite = logits.isfinite().all(dim=1)
        usable = finite.nonzero().flatten().tolist()
        if self.loss is not None and usable:
            loss = require_mean(self.loss(logits[usable], labels[usable]))
            into.loss_sum += float(loss) * len(usable)
            into.num_scored += len(usable)
        is_first = not into.merged
        if is_first and self.activation is softmax and are_distributions(logits[usable]):
            log_once(logger, _ACTIVATED_TWICE, logging.WARNING)
        activated = self.activation(logits)
        if not isinstance(activated, Tensor) or activated.shape != logits.shape:
            raise ConfigError(
                f"MODEL.HEAD_ACT: must return scores of the shape of the logits, {tuple(logits.shape)}, and "
                f"has returned {describe_returned(activated)}"
            )
        rows = activated.numpy()
        scored = (finite & ~activated.isnan().any(dim=1)).tolist()
        for (video, view), label, row, is_scored in zip(keys, labels.numpy(), rows, scored, strict=True):
            if is_scored:
                into.add(video, view, label, row)
            else:
                into.broken[video] = _not_finite(video, view)


def _not_finite(video: int, view: int, error: NotFiniteError | None = None) -> BrokenVideo:
    detail = f"the scores of view {view}" + (f": {error}" if error else "")
    return BrokenVideo(video, "", "not finite", detail)


def _finish(scores: _Scores, num_classes: int, seconds: float) -> Evaluation:
    """Returns the merged scores as arrays."""
    ids = sorted(scores.merged)
    counts = np.array([len(scores.views[video]) for video in ids], dtype=np.int64)
    merged = np.zeros((len(ids), num_classes), dtype=np.float32)
    for row, video in enumerate(ids):
        merged[row] = scores.merged[video]
    finish_merge(merged, counts[:, None], scores.method)
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
