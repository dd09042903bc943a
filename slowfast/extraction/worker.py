"""Extraction of the videos of a feature cache, by threads in any number of processes."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from slowfast.datasets.annotations import Annotations
from slowfast.datasets.clip import BrokenVideo
from slowfast.distributed.device import use_device_in_thread
from slowfast.distributed.world import World
from slowfast.errors import DataError, DecodeError, NotFiniteError
from slowfast.extraction.cached_video import CachedVideoExtractor
from slowfast.extraction.video import OutOfRangeError
from slowfast.features.cache import FeatureNames, Variant
from slowfast.features.storage import FileInUseError
from slowfast.files import UNWRITABLE_DISK
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.log import get_logger, log_once
from slowfast.progress import Progress
from slowfast.video.decoding import OpenVideo

_logger = get_logger(__name__)

# Seconds between two exchanges of progress between the processes.
_EXCHANGE_SECONDS = 2.0
# Videos in a row, from the first on, whose features cannot be stored: then the model is at fault.
_MAX_UNUSABLE = 3


@dataclass(frozen=True)
class SplitVideos:
    """The videos of one split that this process extracts.

    Attributes:
        name: train, val or test.
        annotations: annotations of all videos of the split.
        names: maps a video's path to its name in the cache.
        open_source: opens a video by its path.
        variants: variants to extract of each video.
        rows: rows of the annotations.
    """

    name: str
    annotations: Annotations
    names: FeatureNames
    open_source: Callable[[str], OpenVideo]
    variants: tuple[Variant, ...]
    rows: Sequence[int]


class _ProcessState(NamedTuple):
    """The progress of one process."""

    videos: int
    found: int
    total: int
    frames: int
    finished: bool
    signum: int


class ExtractionWork:
    """The work of this process, done by threads that decode at the same time.

    Attributes:
        broken: videos that could not be read, by their names in the cache.
        videos: number of videos that are done: extracted, found complete, or broken.
        complete: number of videos with all of their features.
        found: number of those videos of which no frame was encoded.
        total: number of videos of this process.
        frames: number of frames that were encoded.
    """

    def __init__(
        self, extractor: CachedVideoExtractor, splits: Sequence[SplitVideos], interrupt: Interrupt
    ) -> None:
        self.broken: dict[str, BrokenVideo] = {}
        self.videos = self.found = self.frames = self.complete = 0
        self.total = sum(len(split.rows) for split in splits)
        self._extractor = extractor
        self._interrupt = interrupt
        self._remaining = ((split, row) for split in splits for row in split.rows)
        # Videos that another extraction into the same folder was writing; tried again at the end.
        self._postponed: deque[tuple[SplitVideos, int]] = deque()
        self._lock = threading.Lock()
        # Splits may share a video: one thread extracts it, and another one that gets it waits.
        self._in_progress: set[str] = set()
        self._one_is_done = threading.Condition()
        self._failed = False
        self._num_unusable = 0

    def finish(self, world: World, *, threads: int) -> None:
        """Works until all processes are done; every process must call it.

        Raises:
            Interrupted: after a signal to any process.
            DataError: where features cannot be written, or those of the first videos are too large for their
                dtype.
            NotFiniteError: where the features of the first videos are NaN or infinite.
        """
        total = sum(world.all_gather_objects(self.total))
        compute = self._extractor.encoder.compute
        with (
            Progress(total, "features", "video", enabled=world.is_main) as progress,
            ThreadPoolExecutor(threads, "extract", use_device_in_thread, (world.device,)) as pool,
        ):
            futures = [pool.submit(self._work) for _ in range(threads)]
            for future in futures:
                future.add_done_callback(lambda _: compute.leave())
            try:
                self._exchange_progress(world, futures, progress)
            except BaseException:
                self._failed = True
                raise
            finally:
                compute.restore()
        if self._interrupt.requested():
            raise Interrupted(
                self._interrupt.signum,
                f"{progress.done} of {total} videos are done; the same command continues from there",
            )

    def _exchange_progress(self, world: World, futures: Sequence[Future[None]], progress: Progress) -> None:
        """Exchanges progress and signals between the processes until all of them are done.

        Raises:
            Exception: the first one of a thread of this process.
        """
        all_finished, found = False, 0
        while not all_finished:
            ended, running = wait(futures, _EXCHANGE_SECONDS, FIRST_EXCEPTION)
            for future in ended:
                future.result()
            with self._lock:
                counts = self.videos, self.found, self.total, self.frames
            own = _ProcessState(*counts, not running, self._interrupt.signum)
            states: list[_ProcessState] = world.all_gather_objects(own)
            before, found = found, sum(state.found for state in states)
            encoded = sum(state.videos for state in states) - progress.done - (found - before)
            frames = sum(state.frames for state in states)
            progress.update(encoded, found=found - before, frames=frames)
            if signum := max(state.signum for state in states):
                self._interrupt.request(signum)
            all_finished = all(state.finished for state in states)

    def _work(self) -> None:
        """Extracts videos until none remains, a signal comes or another thread fails."""
        while not self._interrupt.requested() and not self._failed:
            with self._lock:
                job = next(self._remaining, None)
                if job is None and self._postponed:
                    job = self._postponed.popleft()
            if job is None:
                return
            try:
                encoded = self._extract(*job)
            except Interrupted:
                return
            except FileInUseError:
                log_once(_logger, "features: videos that another extraction is writing are tried again later")
                with self._lock:
                    self._postponed.append(job)
                continue
            with self._lock:
                self.videos += 1
                self.found += not encoded
                self.frames += encoded

    def _extract(self, split: SplitVideos, row: int) -> int:
        """Extracts the features of one video; returns how many frames were encoded."""
        path = split.annotations.paths[row]
        name = split.names(path)
        try:
            with self._exclusive(name):
                missing = self._extractor.missing(path, name, split.variants)
                encoded = self._extractor.extract(path, name, missing, split.open_source) if missing else 0
            with self._lock:
                self.complete += 1
            return encoded
        except DecodeError as error:
            broken = BrokenVideo(row, path, error.reason, error.detail)
        except (NotFiniteError, OutOfRangeError) as error:
            with self._lock:
                self._num_unusable += 1
                if self._num_unusable >= _MAX_UNUSABLE and not self.complete:
                    raise
            broken = BrokenVideo(row, path, "not finite", str(error).removeprefix(f"{path}: "))
        except FileNotFoundError:
            broken = BrokenVideo(row, path, "missing", "the file does not exist")
        except (OSError, MemoryError) as error:
            # Of the disk that is written to, not of the video that is read.
            if isinstance(error, OSError) and self._is_of_cache(error):
                raise DataError(
                    f"features cannot be written: {error}; make room or change the permissions, then the "
                    "same command continues"
                ) from error
            broken = BrokenVideo(row, path, "unreadable", repr(error))
        with self._lock:
            self.broken[name] = broken
        return 0

    def _is_of_cache(self, error: OSError) -> bool:
        """Returns whether an error is of the disk or the folder that the features are written to."""
        # Locks are named by their real paths.
        folder, failed = os.path.realpath(self._extractor.folder), os.path.realpath(str(error.filename))
        return error.errno in UNWRITABLE_DISK or failed.startswith(os.path.join(folder, ""))

    @contextmanager
    def _exclusive(self, name: str) -> Iterator[None]:
        """Waits until no other thread of this process works on the video of that name."""
        with self._one_is_done:
            self._one_is_done.wait_for(lambda: name not in self._in_progress)
            self._in_progress.add(name)
        try:
            yield
        finally:
            with self._one_is_done:
                self._in_progress.discard(name)
                self._one_is_done.notify_all()
