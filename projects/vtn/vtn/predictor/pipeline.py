"""The way of many videos through readers and batches to the scores of their views, in order."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field

from slowfast.datasets.clip import Clip, StreamedClip
from vtn.predictor.reading.reader import Reading
from vtn.predictor.scoring import ClipScorer, ViewScores
from vtn.predictor.videos import VideoSource
from vtn.predictor.views import ReadVideo, ViewPlan

MAX_BATCH_FRAMES = 1024
"""Largest number of frames of a batch, padded; one view may have more."""


@dataclass(eq=False)
class ScoredVideo:
    """A video whose views are being scored, or are scored.

    Attributes:
        source: the video.
        found: its views, or the reason why it cannot be read.
        scores: of the views so far.
        num_taken: views that have been through a batch.
    """

    source: VideoSource
    found: ReadVideo | Exception
    scores: list[ViewScores] = field(default_factory=list)
    num_taken: int = 0


@dataclass
class _Batch:
    """Consecutive views of consecutive videos; views of videos that cannot be read take places, too.

    So a batch consists of the same views as in the engine's test.
    """

    size: int
    slots: list[tuple[ScoredVideo, Clip | StreamedClip | None]] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Whether the batch has ``size`` views."""
        return len(self.slots) >= self.size

    def has_room_for(self, clip: Clip | StreamedClip | None) -> bool:
        """Returns whether the frames of another view fit into the batch."""
        lengths = [_frames_in_memory(slot) for _, slot in [*self.slots, (None, clip)]]
        count = sum(length > 0 for length in lengths)
        return not self.slots or count == 1 or max(lengths) * count <= MAX_BATCH_FRAMES


@dataclass(frozen=True)
class Pipeline:
    """A plan of views and the model that scores them.

    Attributes:
        plan: of the views of each video.
        scorer: scores them.
        batch_size: views that are scored together.
    """

    plan: ViewPlan
    scorer: ClipScorer
    batch_size: int

    def run(self, readings: Generator[Reading, None, None]) -> Iterator[ScoredVideo]:
        """Yields the videos in order, with the scores of their views.

        Args:
            readings: videos as they are read, which are closed with this generator.
        """
        batch = _Batch(self.batch_size)
        with closing(readings):
            for source, found in readings:
                yield from self._add(batch, ScoredVideo(source, found))
            yield from self._score(batch)

    def _add(self, batch: _Batch, video: ScoredVideo) -> Iterator[ScoredVideo]:
        """Adds the views of a video; yields the videos that become complete."""
        for view in range(self.plan.num_views):
            clip = None if isinstance(video.found, Exception) else video.found.clips[view]
            if not batch.has_room_for(clip):
                yield from self._score(batch)
            batch.slots.append((video, clip))
            if batch.is_full:
                yield from self._score(batch)

    def _score(self, batch: _Batch) -> Iterator[ScoredVideo]:
        """Scores and removes the views of a batch; yields the videos that have no further views."""
        slots, batch.slots = batch.slots, []
        clips = [clip for _, clip in slots if clip is not None]
        results = iter(self.scorer.score(clips))
        for video, clip in slots:
            if clip is not None:
                video.scores.append(next(results))
            video.num_taken += 1
            if video.num_taken == self.plan.num_views:
                yield video


def _frames_in_memory(clip: Clip | StreamedClip | None) -> int:
    return clip.frames.shape[1] if isinstance(clip, Clip) else 0
