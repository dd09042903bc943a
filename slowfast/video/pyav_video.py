"""Exact frames of a video file through PyAV: only those wanted, scaled before they become RGB.

The table of frames tells what to decode: from key frames on, skipping pictures that nothing refers to. The
wanted frames are recognised by their timestamps. Where timestamps are missing or lie, frames are counted as
the decoder gives them.

T frames, H W pixels, N frames of the video.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np

from slowfast.errors import DecodeError
from slowfast.video.container import Source
from slowfast.video.frame_scaler import FrameScaler
from slowfast.video.frame_table import FrameTable
from slowfast.video.frame_times import FrameTimes
from slowfast.video.packets import PacketSource
from slowfast.video.placement import Placer, whole_picture

# Jumps over more packets than this are made by seeking, shorter ones by passing packets over.
_SEEK_PACKETS = 100
# Frames of a long walk that are looked for at a time.
_WALK_FRAMES = 4096


class PyAVVideo:
    """An open video file. Close it, or use it in a ``with`` statement.

    Args:
        source: a path, or a seekable binary file.
        threads: that decode. More than one pay on large pictures and long videos where cores are idle, not
            on clips, and not beside workers that decode as well.
        table: of the frames, where it is known already; see :class:`PacketSource`.

    Raises:
        DecodeError: for whatever is no decodable video; here, or when the frames are first asked for.
    """

    def __init__(self, source: Source, threads: int = 1, table: FrameTable | None = None) -> None:
        self._source = source
        self._threads = threads
        self._packets = PacketSource(source, threads, table)
        self.name = self._packets.name

    def __enter__(self) -> PyAVVideo:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._packets.close()

    @property
    def times(self) -> FrameTimes:
        """When each frame is shown."""
        return self._table.times

    @property
    def pts(self) -> np.ndarray | None:
        """(N,) int64, the frames' timestamps in the stream's ticks; None where they cannot be trusted."""
        return self._table.pts

    @property
    def average_rate(self) -> float:
        """Frames per second as the container has it; 25 where it does not say."""
        return self._packets.average_rate

    @property
    def claimed_frames(self) -> int:
        """Number of frames as the header has it; 0 where it does not say."""
        return self._packets.stream.frames

    @property
    def claimed_ticks_per_frame(self) -> float | None:
        """The header's duration over its number of frames; None where it does not say."""
        stream = self._packets.stream
        if not stream.duration or not stream.frames:
            return None
        return stream.duration / stream.frames

    @property
    def _table(self) -> FrameTable:
        return self._packets.table

    def read(self, indices: np.ndarray, placer: Placer | None = None) -> np.ndarray:
        """Decodes the frames of the given indices.

        Args:
            indices: (T,) integers in [0, N), in any order, repeats allowed.
            placer: scale, crop and flip; None: whole frames.

        Returns:
            (T, H, W, 3) uint8, RGB.

        Raises:
            DecodeError: reason ``corrupt`` where a wanted frame cannot be decoded.
        """
        indices = np.asarray(indices, np.int64)
        parts = self._parts(indices)
        if len(parts) > 1:
            return self._read_parts(indices, parts, placer)
        picture = FrameScaler(len(indices), placer or whole_picture(), self.name)
        missing = self._put(picture, indices)
        if missing:
            shown = ", ".join(map(str, missing[:5]))
            wanted = len(np.unique(indices))
            raise DecodeError(self.name, "corrupt", f"{len(missing)} of {wanted} frames missing: {shown}")
        return picture.frames()

    def _put(self, picture: FrameScaler, indices: np.ndarray) -> list[int]:
        """Puts the frames of the given indices into their slots; returns those that cannot be decoded."""
        slots: dict[int, list[int]] = {}
        for slot, index in enumerate(indices.tolist()):
            slots.setdefault(index, []).append(slot)
        # Each way takes the frames that it finds out of ``slots``, and is only tried where some are left.
        for read in (self._read_from_keys, self._read_by_timestamp, self._read_by_counting):
            for index, frame in read(np.array(list(slots))) if slots else ():
                picture.put(frame, slots.pop(index))
        return sorted(slots)

    def read_chunks(
        self,
        indices: np.ndarray,
        size: int,
        placer: Placer | None = None,
        missing: set[int] | None = None,
    ) -> Iterator[np.ndarray]:
        """The same in one walk through the video with flat memory, for ascending indices without repeats.

        Args:
            missing: takes the indices that cannot be decoded, whose pictures are black then; None: they are
                an error, as in :meth:`read`.

        Yields:
            (t, H, W, 3) uint8, t = ``size`` frames, fewer in the last chunk.
        """
        placer = placer or whole_picture()
        walk = self._walk(np.asarray(indices, np.int64))
        ahead = next(walk, None)
        with ExitStack() as stack:
            again: PyAVVideo | None = None
            for start in range(0, len(indices), size):
                chunk = indices[start : start + size]
                slots = {int(index): [slot] for slot, index in enumerate(chunk)}
                picture = FrameScaler(len(chunk), placer, self.name)
                while ahead is not None and ahead[0] <= chunk[-1]:
                    index, frame = ahead
                    if index in slots:
                        picture.put(frame, slots.pop(index))
                    ahead = next(walk, None)
                if not slots:
                    yield picture.frames()
                    continue
                # By the slower ways, on a decoder of its own: the walk goes on afterwards.
                again = again or stack.enter_context(PyAVVideo(self._source, table=self._table))
                if missing is None:
                    yield again.read(chunk, placer)
                else:
                    yield again._read_with_gaps(chunk, placer, missing)

    def _read_with_gaps(self, indices: np.ndarray, placer: Placer, missing: set[int]) -> np.ndarray:
        picture = FrameScaler(len(indices), placer, self.name)
        gaps = self._put(picture, indices)
        missing.update(gaps)
        if len(gaps) == len(indices):
            context = self._packets.stream.codec_context
            place = placer(context.height, context.width)
            return np.zeros((len(indices), place.crop_height, place.crop_width, 3), np.uint8)
        frames = picture.frames()
        frames[np.isin(indices, gaps)] = 0
        return frames

    def stream(self, placer: Placer | None = None) -> Iterator[np.ndarray]:
        """Yields every decodable frame in order, (H, W, 3) uint8, not flipped; memory does not grow."""
        picture = FrameScaler(1, placer or whole_picture(), self.name)
        for frame in self._packets.decode_all():
            yield picture.view(frame)

    # -------------------------------------------------------------------------------- frames

    def _parts(self, indices: np.ndarray) -> list[np.ndarray]:
        """The indices, parted for threads of a decoder each where they lie in several groups of pictures."""
        if self._threads == 1 or not isinstance(self._source, str | os.PathLike) or self._table.pts is None:
            return [indices]
        wanted = np.unique(indices)
        keys = self._table.key_packet[wanted]
        starts = np.flatnonzero(np.diff(keys, prepend=-1))  # where each group begins
        parts = np.array_split(starts, min(self._threads, len(starts)))
        return np.split(wanted, [part[0] for part in parts[1:]])

    def _read_parts(self, indices: np.ndarray, parts: list[np.ndarray], placer: Placer | None) -> np.ndarray:
        def read(part: np.ndarray) -> np.ndarray:
            with PyAVVideo(self._source, table=self._table) as video:
                return video.read(part, placer)

        with ThreadPoolExecutor(len(parts)) as pool:
            frames = np.concatenate(list(pool.map(read, parts)))  # of ascending indices without repeats
        wanted = np.concatenate(parts)
        return frames if np.array_equal(wanted, indices) else frames[np.searchsorted(wanted, indices)]

    def _walk(self, indices: np.ndarray) -> Iterator[tuple[int, Any]]:
        """The frames of ascending indices, as the table allows."""
        if self._table.pts is None:
            yield from self._read_by_counting(indices)
            return
        for start in range(0, len(indices), _WALK_FRAMES):
            yield from self._read_from_keys(indices[start : start + _WALK_FRAMES])

    def _read_from_keys(self, indices: np.ndarray) -> Iterator[tuple[int, Any]]:
        """Frames of the wanted timestamps, decoding only what they need."""
        table = self._table
        if table.pts is None:
            return
        by_pts = dict(zip(table.pts[indices].tolist(), indices.tolist(), strict=True))
        place = len(table.packet_pts) + 1  # past the end after the scan: the first run goes back
        packets: Iterator[Any] = iter(())
        may_skip = self._packets.may_skip
        for first, last in table.runs(indices):
            if not place <= first <= place + _SEEK_PACKETS:
                packets, place = self._packets.from_packet(first)
            for packet in itertools.islice(packets, last + 1 - place):
                place += 1
                if place <= first:
                    continue
                self._packets.skip_unreferenced(may_skip and packet.pts not in by_pts)
                yield from _wanted(self._packets.decode(packet), by_pts)
            # The frames that the decoder still holds; then it starts anew, at a key frame.
            yield from _wanted(self._packets.decode(None), by_pts)
            self._packets.flush()

    def _read_by_timestamp(self, indices: np.ndarray) -> Iterator[tuple[int, Any]]:
        """The same from the first packet on, skipping nothing."""
        if self._table.pts is None:
            return
        by_pts = dict(zip(self._table.pts[indices].tolist(), indices.tolist(), strict=True))
        for frame in self._packets.decode_all():
            yield from _wanted([frame], by_pts)
            if not by_pts:
                return

    def _read_by_counting(self, indices: np.ndarray) -> Iterator[tuple[int, Any]]:
        """Frames counted as the decoder gives them."""
        if not len(indices):
            return
        if self._table.pts is not None and self._packets.num_decodable != self.times.num_frames:
            # The timestamps were good and frames are gone: counting would give their neighbours.
            return
        wanted, last = set(indices.tolist()), int(indices.max())
        for index, frame in enumerate(self._packets.decode_all()):
            if index in wanted:
                yield index, frame
            if index >= last:
                return


def _wanted(frames: list[Any], by_pts: dict[int, int]) -> Iterator[tuple[int, Any]]:
    """Picks out the frames of wanted timestamps, each once, with their indices."""
    for frame in frames:
        index = by_pts.pop(frame.pts, None)
        if index is not None:
            yield index, frame
