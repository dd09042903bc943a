"""The videos of a feature cache, worked off by threads in any number of processes."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from slowfast.datasets.annotations import Annotations
from slowfast.datasets.clip import BrokenVideo
from slowfast.distributed.world import World
from slowfast.errors import DataError, DecodeError
from slowfast.extraction.video import VideoExtractor
from slowfast.features.cache import FeatureNames, Variant
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.progress import Progress
from slowfast.video.decoding import OpenVideo

# Seconds between two looks at how far all processes are.
_LOOK_SECONDS = 2.0
# What is wrong with the place that is written to, not with the video that is read.
_FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class SplitVideos:
    """The videos of one split that are this process's, and what is made of them."""

    name: str
    annotations: Annotations
    names: FeatureNames
    open_source: Callable[[str], OpenVideo]
    variants: tuple[Variant, ...]
    rows: Sequence[int]


class _State(NamedTuple):
    """How far a process is."""

    videos: int
    total: int
    frames: int
    finished: bool
    signum: int


class ExtractionWork:
    """The work of this process, done by threads that decode at the same time.

    Attributes:
        broken: what could not be read, with the row in its split's list.
        videos: looked at, or found complete, of ``total``.
        frames: that went through the model.
    """

    def __init__(
        self, extractor: VideoExtractor, splits: Sequence[SplitVideos], interrupt: Interrupt
    ) -> None:
        self.broken: list[BrokenVideo] = []
        self.videos = self.frames = 0
        self.total = sum(len(split.rows) for split in splits)
        self._extractor = extractor
        self._interrupt = interrupt
        self._todo = ((split, row) for split in splits for row in split.rows)
        self._lock = threading.Lock()
        # Splits may have a video in common; one thread makes it, another that meets it waits.
        self._under_way: set[str] = set()
        self._one_is_done = threading.Condition()
        self._failed = False

    def finish(self, world: World, *, threads: int) -> None:
        """Works until all processes are done; all of them call it.

        Raises:
            Interrupted: after a signal to any of them.
            DataError: where features cannot be written.
        """
        everything = sum(world.share_objects(self.total))
        with (
            Progress(everything, "features", "video", enabled=world.is_main) as progress,
            ThreadPoolExecutor(threads, "extract") as pool,
        ):
            working = [pool.submit(self._work) for _ in range(threads)]
            try:
                self._follow(world, working, progress)
            except BaseException:
                self._failed = True
                raise
        if self._interrupt.requested():
            raise Interrupted(
                self._interrupt.signum,
                f"{progress.done} of {everything} videos are done; the same command goes on from there",
            )

    def _follow(self, world: World, working: Sequence[Future[None]], progress: Progress) -> None:
        """Tells and hears how far the processes are; nobody leaves before all are done."""
        everybody_done = False
        while not everybody_done:
            ended, still = wait(working, _LOOK_SECONDS, FIRST_EXCEPTION)
            for future in ended:
                future.result()
            own = _State(self.videos, self.total, self.frames, not still, self._interrupt.signum)
            states: list[_State] = world.share_objects(own)
            done = sum(state.videos for state in states)
            progress.update(done - progress.done, frames=sum(state.frames for state in states))
            if signum := max(state.signum for state in states):
                self._interrupt.request(signum)
            everybody_done = all(state.finished for state in states)

    def _work(self) -> None:
        while not self._interrupt.requested() and not self._failed:
            with self._lock:
                job = next(self._todo, None)
            if job is None:
                return
            try:
                seen = self._take(*job)
            except Interrupted:
                return
            with self._lock:
                self.videos += 1
                self.frames += seen

    def _take(self, split: SplitVideos, row: int) -> int:
        """Makes one video's features; returns how many frames were looked at."""
        path = split.annotations.paths[row]
        try:
            name = split.names(path)
            with self._alone_at(name):
                missing = self._extractor.missing(path, name, split.variants)
                return self._extractor.extract(path, name, missing, split.open_source) if missing else 0
        except DecodeError as error:
            broken = BrokenVideo(row, path, error.reason, error.detail)
        except FileNotFoundError:
            broken = BrokenVideo(row, path, "missing", "there is no such file")
        except (OSError, MemoryError) as error:
            if isinstance(error, OSError) and error.errno in _FATAL:
                raise DataError(f"features cannot be written: {error}; the same command goes on") from error
            broken = BrokenVideo(row, path, "unreadable", repr(error))
        with self._lock:
            self.broken.append(broken)
        return 0

    @contextmanager
    def _alone_at(self, name: str) -> Iterator[None]:
        with self._one_is_done:
            self._one_is_done.wait_for(lambda: name not in self._under_way)
            self._under_way.add(name)
        try:
            yield
        finally:
            with self._one_is_done:
                self._under_way.discard(name)
                self._one_is_done.notify_all()
