"""Exact frames of a video file through PyAV: only the wanted ones, scaled before they become RGB.

Why not a library: PyAV alone only decodes in order, torchcodec and decord rely on the timestamps of the
container, and none of them scales frames before the conversion to RGB.

The frame table tells what to decode: from key frames on, without frames that no other frame refers to. The
wanted frames are recognised by the number of their packet. Where the decoder does not keep that number,
frames are counted in the order in which the decoder outputs them.

T frames, H W pixels, N frames of the video.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from fractions import Fraction
from typing import Any

import numpy as np

from slowfast.errors import DecodeError
from slowfast.timing.stage_times import DECODING, measure
from slowfast.video.container import Source
from slowfast.video.frame_scaler import FrameScaler, SharedPlacement
from slowfast.video.frame_search import FrameSearch
from slowfast.video.frame_table.damage import describe_damage, describe_missing
from slowfast.video.frame_table.table import FrameTable
from slowfast.video.frame_times import FrameTimes
from slowfast.video.orientation import orientation_of
from slowfast.video.packets import PacketSource
from slowfast.video.placement import Placement, Placer, full_frame


class PyAVVideo:
    """An open video file; close it, or use it in a ``with`` statement.

    Args:
        source: a path, or a seekable binary file.
        threads: number of decoding threads. More than one are faster for large frames and long videos where
            cores are idle; not for clips, and not beside workers that decode as well.
        table: the frame table, where it is known already; see :class:`PacketSource`.

    Raises:
        DecodeError: if the source is not a decodable video; here, or when frames or times are first read.
    """

    def __init__(self, source: Source, threads: int = 1, table: FrameTable | None = None) -> None:
        self._source = source
        self._threads = threads
        self._packets = PacketSource(source, threads, table)
        self._search = FrameSearch(self._packets)
        self.name = self._packets.name
        self._size_of_first: tuple[int, int] | None = None

    def __enter__(self) -> PyAVVideo:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; a second call has no effect."""
        self._packets.close()

    @property
    def times(self) -> FrameTimes:
        """The display times of the frames."""
        return self._table.times

    @property
    def pts(self) -> np.ndarray | None:
        """(N,) int64 timestamps of the frames in the stream's ticks; None where they cannot be trusted."""
        return self._table.pts

    @property
    def rate(self) -> Fraction:
        """Frames per second from the container's header; 25 where the header has no rate."""
        return self._packets.rate

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick of the stream's timestamps."""
        return self._packets.stream.time_base or Fraction(1, 1000)

    @property
    def claimed_frames(self) -> int:
        """Number of frames from the container's header; 0 where the header has no number."""
        return self._packets.stream.frames

    @property
    def claimed_ticks_per_frame(self) -> float | None:
        """The header's duration divided by its number of frames; None where the header lacks one of them."""
        stream = self._packets.stream
        if not stream.duration or not stream.frames:
            return None
        return stream.duration / stream.frames

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames in pixels, as stored."""
        return self._packets.size

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec, whichever decoder reads it."""
        return self._packets.stream.codec_context.codec.canonical_name

    def describe_missing(self) -> str:
        """Returns what the header announces and the file lacks; empty if nothing is missing."""
        return describe_missing(self._packets)

    def describe_damage(self) -> str:
        """Decodes all frames; returns what went wrong, empty if nothing."""
        return describe_damage(self._packets)

    @property
    def _table(self) -> FrameTable:
        return self._packets.table

    def read(self, indices: np.ndarray, placer: Placer | None = None) -> np.ndarray:
        """Decodes the frames of the given indices.

        Args:
            indices: (T,) integers in [0, N), in any order, repeats allowed.
            placer: scale, crop and flip; None: full frames.

        Returns:
            (T, H, W, 3) uint8, RGB.

        Raises:
            DecodeError: with the reason ``corrupt`` if a wanted frame cannot be decoded.
            InputError: for an index outside [0, N).
        """
        with measure(DECODING):
            return self._read(self.times.checked(indices, self.name), self._shared(placer))

    def _read(self, indices: np.ndarray, placement: SharedPlacement) -> np.ndarray:
        # Threads have a decoder each, on a file that they open again.
        threads = self._threads if isinstance(self._source, str | os.PathLike) else 1
        if len(parts := self._table.split(indices, threads)) > 1:
            return self._read_parts(indices, parts, placement)
        scaler = FrameScaler(len(indices), placement, self.name)
        missing = self._put(scaler, indices)
        if missing:
            examples = ", ".join(map(str, missing[:5]))
            wanted = len(np.unique(indices))
            raise DecodeError(
                self.name, "corrupt", f"{len(missing)} of {wanted} frames cannot be decoded: {examples}"
            )
        return scaler.frames()

    def _put(self, scaler: FrameScaler, indices: np.ndarray) -> list[int]:
        """Puts the frames of the given indices into their slots; returns indices that cannot be decoded."""
        slots: dict[int, list[int]] = {}
        for slot, index in enumerate(indices.tolist()):
            slots.setdefault(index, []).append(slot)
        missing = set(slots)
        for index, frame in self._search.frames(slots):
            scaler.put(frame, slots[index])
            missing.discard(index)
        # Some frames may turn out to be lost when later ones are decoded.
        return sorted(missing | (self._table.lost & slots.keys()))

    def read_chunks(
        self,
        indices: np.ndarray,
        chunk_frames: int,
        placer: Placer | None = None,
        missing: set[int] | None = None,
    ) -> Iterator[np.ndarray]:
        """Decodes the frames of the given indices in one pass over the video; memory does not grow.

        Args:
            indices: (T,) ascending integers in [0, N), without repeats.
            chunk_frames: frames per chunk.
            placer: scale, crop and flip; None: full frames.
            missing: collects the indices that cannot be decoded, whose frames are black then; None: such
                frames are an error, as in :meth:`read`.

        Yields:
            (t, H, W, 3) uint8, t = ``chunk_frames`` frames, fewer in the last chunk.
        """
        placement = self._shared(placer)
        indices = self.times.checked(indices, self.name)
        found = self._search.ascending(indices)
        ahead = next(found, None)
        with ExitStack() as stack:
            second: PyAVVideo | None = None
            for start in range(0, len(indices), chunk_frames):
                chunk = indices[start : start + chunk_frames]
                slots = {int(index): [slot] for slot, index in enumerate(chunk)}
                scaler = FrameScaler(len(chunk), placement, self.name)
                # Take the frames of this chunk; ``ahead`` is the first one after it.
                while ahead is not None and ahead[0] <= chunk[-1]:
                    index, frame = ahead
                    if index in slots:
                        scaler.put(frame, slots.pop(index))
                    ahead = next(found, None)
                if not slots and self._table.lost.isdisjoint(chunk.tolist()):
                    yield scaler.frames()
                    continue
                # Frames are missing: a second decoder tries the slower ways, this one keeps its position.
                # Each learns from the other which frames are lost, as that takes decoding of the whole video.
                second = second or stack.enter_context(self._second())
                second._packets.table = second._table.with_lost_of(self._table)
                with measure(DECODING):
                    frames = second._read_with_gaps(chunk, placement, missing)
                self._packets.table = self._table.with_lost_of(second._table)
                yield frames

    def _read_with_gaps(
        self, indices: np.ndarray, placement: SharedPlacement, missing: set[int] | None
    ) -> np.ndarray:
        """Reads one chunk; frames that cannot be decoded are black, and their indices go to ``missing``."""
        if missing is None:
            return self._read(indices, placement)
        scaler = FrameScaler(len(indices), placement, self.name)
        gaps = self._put(scaler, indices)
        missing.update(gaps)
        if len(gaps) == len(indices):
            place = self._place_of_black_frames(placement)
            return np.zeros((len(indices), place.crop_height, place.crop_width, 3), np.uint8)
        frames = scaler.frames()
        frames[np.isin(indices, gaps)] = 0
        return frames

    def _place_of_black_frames(self, placement: SharedPlacement) -> Placement:
        """Returns the placement of frames that cannot be decoded; by the orientation of one that can be."""
        first = next(self._packets.decode_all(), None)
        if first is not None:
            return placement.of(first, orientation_of(first), self.name)
        if 0 in self.size:  # a header that does not state it; no black frame can take the place of others
            raise DecodeError(self.name, "corrupt", "its frames cannot be decoded and have no size")
        return placement.of_size(*self.size)

    def stream(self, placer: Placer | None = None) -> Iterator[np.ndarray]:
        """Yields every decodable frame in order, (H, W, 3) uint8, without the flip; memory does not grow."""
        scaler = FrameScaler(1, self._shared(placer), self.name)
        for frame in self._packets.decode_all():
            yield scaler.view(frame)

    def every_frame(self) -> Iterator[Any]:
        """Yields all frames in display order, as decoded (``av.VideoFrame``).

        Raises:
            DecodeError: with the reason ``corrupt`` at the first frame that cannot be decoded.
        """
        return self._search.every_frame()

    def _shared(self, placer: Placer | None) -> SharedPlacement:
        return SharedPlacement(placer or full_frame(), self._first_size)

    def _first_size(self, frame: Any) -> tuple[int, int]:
        """Returns the (height, width) of the video's first frame, as stored, given any of its frames.

        It is that of the header, and of all frames, in ordinary videos. Where a frame differs, the result
        would depend on which frames are asked for; the first frame is decoded then, and decides.
        """
        size = frame.height, frame.width
        if size == self._packets.stated_size or self.times.num_frames == 1:
            return size
        if self._size_of_first is None:
            with self._second() as video:
                first = next(video._packets.decode_all(), frame)
            self._size_of_first = first.height, first.width
        return self._size_of_first

    def _second(self) -> PyAVVideo:
        """Opens the same file with a decoder of its own, for frames apart from those this one is at."""
        return PyAVVideo(self._source, table=self._table)

    def _read_parts(
        self, indices: np.ndarray, parts: list[np.ndarray], placement: SharedPlacement
    ) -> np.ndarray:
        """Reads the given parts of the wanted frames in a thread each."""

        def read(part: np.ndarray) -> np.ndarray:
            with self._second() as video, measure(DECODING):
                return video._read(part, placement)

        with ThreadPoolExecutor(len(parts)) as pool:
            frames = np.concatenate(list(pool.map(read, parts)))
        wanted = np.concatenate(parts)  # the indices of ``frames``, ascending without repeats
        return frames if np.array_equal(wanted, indices) else frames[np.searchsorted(wanted, indices)]
