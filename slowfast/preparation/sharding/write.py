"""Writing of planned shards by several threads; finished ones are kept, so that a second call continues."""

from __future__ import annotations

import os
import tarfile
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from io import BufferedReader, BytesIO, FileIO
from pathlib import Path

from slowfast.datasets.shards.index import load_index, update_index
from slowfast.errors import DecodeError
from slowfast.files import atomic_write
from slowfast.preparation.report import BadFile
from slowfast.preparation.sharding.plan import PlannedShard, SourceVideo
from slowfast.progress import Progress

_MODE = 0o644


@dataclass(frozen=True)
class WrittenShard:
    """A shard that is complete on the disk.

    Attributes:
        planned: the plan of the shard.
        bytes: of the archive.
        left_out: videos that could not be copied.
        kept: whether an earlier call has written it.
    """

    planned: PlannedShard
    bytes: int
    left_out: tuple[BadFile, ...] = ()
    kept: bool = False


def write_shards(
    shards: tuple[PlannedShard, ...], folder: str, *, left_out: Collection[str], threads: int
) -> Iterator[WrittenShard]:
    """Yields the shards as they are finished: first those that are complete already, then the others.

    When the iteration is interrupted, no shard is left incomplete.

    Args:
        folder: of the archives.
        left_out: paths of the videos that earlier calls could not copy; a shard that lacks another one is
            written again.
        threads: number of shards that are written at a time.

    Raises:
        OSError: where a shard cannot be written.
    """
    stop = threading.Event()
    total, done, remaining = sum(len(shard.videos) for shard in shards), 0, []
    for shard in shards:
        if _is_complete(path := os.path.join(folder, shard.name), shard, left_out):
            done += len(shard.videos)
            yield WrittenShard(shard, os.path.getsize(path), kept=True)
        else:
            remaining.append(shard)
    with Progress(total, "shards", "video", done=done) as progress:
        lock = threading.Lock()

        def count() -> None:
            if stop.is_set():
                raise _Stopped
            with lock:
                progress.update()

        def write(shard: PlannedShard) -> WrittenShard:
            try:
                return _write_shard(shard, folder, count)
            except BaseException:
                stop.set()  # here, so that this thread does not begin its next shard
                raise

        with ThreadPoolExecutor(threads) as pool:
            try:
                tasks = [pool.submit(write, shard) for shard in remaining]
                for task in as_completed(tasks):
                    if not isinstance(task.exception(), _Stopped):  # the error itself may come later
                        yield task.result()
            finally:  # after Ctrl-C or an error the threads end with their current video
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)


class _Stopped(Exception):  # noqa: N818 (not an error)
    """The end of a thread whose shard is not wanted any more."""


def _is_complete(path: str, shard: PlannedShard, left_out: Collection[str]) -> bool:
    """Returns whether a shard has its videos and is as it was written; its index comes last."""
    rows = load_index(path) if os.path.exists(path) else None
    if rows is None:
        return False
    wanted = {key for key, video in shard.videos.items() if video.path not in left_out}
    return {row.member.partition(".")[0] for row in rows} == wanted


def _write_shard(shard: PlannedShard, folder: str, count: Callable[[], None]) -> WrittenShard:
    """Writes an archive and its index; a video that cannot be copied is left out."""
    path = Path(folder, shard.name)
    left_out: list[BadFile] = []
    counted: set[str] = set()

    def count_once(key: str) -> None:
        if key not in counted:  # an archive is restarted after a video that cannot be copied
            counted.add(key)
            count()

    while True:
        refused = {file.path for file in left_out}
        try:
            with atomic_write(path) as temporary:
                _write_archive(shard, refused, temporary, count_once)
            break
        except DecodeError as error:
            left_out.append(BadFile(error.path, error.reason, error.detail))
    update_index(str(path))
    return WrittenShard(shard, path.stat().st_size, tuple(left_out))


def _write_archive(shard: PlannedShard, refused: set[str], path: Path, count: Callable[[str], None]) -> None:
    """Writes an archive whose bytes depend on its content alone.

    Raises:
        DecodeError: for a video that cannot be copied.
    """
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for key, video in shard.videos.items():
            count(key)
            if video.path in refused:
                continue
            with _open_unchanged(video) as file:
                for suffix, content in video.labels.items():
                    archive.addfile(_header(f"{key}.{suffix}", len(content)), BytesIO(content))
                archive.addfile(_header(f"{key}.{video.suffix}", video.size), file)


def _header(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)  # time 0, and no user or group
    info.size, info.mode = size, _MODE
    return info


class _Source(BufferedReader):
    """A file that is copied; its errors name it, and are not those of the archive."""

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            content = super().read(size)
        except OSError as error:
            raise DecodeError(self.name, "unreadable", str(error)) from error
        if size is not None and len(content) < size:
            raise DecodeError(self.name, "changed", "it has become shorter while it was copied")
        return content


def _open_unchanged(video: SourceVideo) -> _Source:
    """Opens a file that must be as it was when the shards were planned."""
    try:
        file = _Source(FileIO(video.path))
        size = os.fstat(file.fileno()).st_size
    except OSError as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        raise DecodeError(video.path, reason, str(error)) from error
    if size != video.size:
        file.close()
        raise DecodeError(video.path, "changed", f"it has {size} bytes and had {video.size}")
    return file
