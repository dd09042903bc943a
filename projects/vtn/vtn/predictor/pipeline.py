"""The way of many videos through readers and batches to the scores of their views, in order."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeAlias

from slowfast.datasets.clip import Clip, StreamedClip
from vtn.predictor.reading.reader import Reading
from vtn.predictor.scoring import ClipScorer, ViewScores
from vtn.predictor.videos import VideoSource
from vtn.predictor.views import ReadVideo

MAX_BATCH_FRAMES = 1024
"""Largest number of frames of a batch, padded; one view may have more."""


@dataclass(eq=False)
class ScoredVideo:
    """A video whose views are being scored, or are scored.

    Attributes:
        source: the video.
        found: its views, or the reason why it cannot be read.
        scores: of the views so far.
    """

    source: VideoSource
    found: ReadVideo | Exception
    scores: list[ViewScores] = field(default_factory=list)


_View: TypeAlias = Clip | StreamedClip | Exception
_Slot: TypeAlias = tuple[ScoredVideo, _View]


@dataclass(frozen=True)
class Pipeline:
    """The scoring of videos in batches.

    Attributes:
        num_views: per video.
        scorer: scores views.
        batch_size: views that are scored together.
    """

    num_views: int
    scorer: ClipScorer
    batch_size: int

    def run(self, readings: Generator[Reading, None, None]) -> Iterator[ScoredVideo]:
        """Yields the videos in order, with the scores of their views.

        Args:
            readings: videos as they are read, which are closed with this generator.
        """
        # Views of videos that cannot be read take places, too: so a batch has the views of the engine's test.
        batch: list[_Slot] = []
        with closing(readings):
            for source, found in readings:
                video = ScoredVideo(source, found)
                for view in found.clips if isinstance(found, ReadVideo) else [found] * self.num_views:
                    if not _fit_in_memory([*(other for _, other in batch), view]):
                        yield from self._score(batch)
                    batch.append((video, view))
                    if len(batch) == self.batch_size:
                        yield from self._score(batch)
            yield from self._score(batch)

    def _score(self, batch: list[_Slot]) -> Iterator[ScoredVideo]:
        """Scores and removes the views of a batch; yields the videos that have no further views."""
        slots = batch.copy()
        batch.clear()
        results = iter(self.scorer.score([view for _, view in slots if not isinstance(view, Exception)]))
        for video, view in slots:
            video.scores.append(view if isinstance(view, Exception) else next(results))
            if len(video.scores) == self.num_views:
                yield video


def _fit_in_memory(views: Sequence[_View]) -> bool:
    """Returns whether views may be one batch, by their frames in memory."""
    lengths = [view.frames.shape[1] for view in views if isinstance(view, Clip)]
    return len(lengths) < 2 or max(lengths) * len(lengths) <= MAX_BATCH_FRAMES
