"""The search for wanted frames of a stream: from key frames, from the start, or by counting.

T frames wanted, N frames of the video.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Container, Iterable, Iterator
from typing import Any

import numpy as np
from av.video.frame import PictureType

from slowfast.errors import DecodeError
from slowfast.video.packets import PacketSource

# Gaps of more packets than this are crossed by seeking, smaller ones by reading packets without decoding.
_SEEK_PACKETS = 100
# Number of frames of a long video that are looked for at a time.
_WALK_FRAMES = 4096
# Kinds of frames that refer to others, at which decoding cannot start.
_REFERRING = frozenset({PictureType.P, PictureType.B})

# Most frames that a decoder holds back to reorder them (H.264 and H.265).
_MOST_HELD = 16


class _WrongOrderError(Exception):
    """The decoder outputs frames in another order than that of the frame table.

    Args:
        first, last: numbers of the first and the last packet that were decoded.
    """

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        super().__init__(first, last)


class FrameSearch:
    """The ways to find frames of a stream, from the fastest to the slowest."""

    def __init__(self, source: PacketSource) -> None:
        self._source = source

    def frames(self, indices: Iterable[int]) -> Iterator[tuple[int, Any]]:
        """Yields (index, frame) of the wanted frames in any order, each once, as far as they can be decoded.

        Where the decoder refutes the order of the frame table, the table is corrected and the search
        restarts. Later pairs then replace earlier ones; earlier pairs of frames that are lost are void.
        """
        wanted = set(indices)
        while True:
            left = wanted - self._source.table.lost
            try:
                for search in (self._from_keys, self._from_start, self._by_counting):
                    for index, frame in search(np.array(sorted(left), np.int64)) if left else ():
                        yield index, frame
                        left.discard(index)
                return
            except _WrongOrderError as error:
                self._correct_table(error)

    def ascending(self, indices: np.ndarray) -> Iterator[tuple[int, Any]]:
        """Yields (index, frame) for ascending indices, by the fastest way that the table allows.

        The video may be read otherwise between two frames.
        """
        if self._source.table.packet is None:
            yield from self._by_counting(indices)
            return
        last = -1
        while True:
            table = self._source.table
            left = indices[(indices > last) & ~np.isin(indices, list(table.lost))]
            try:
                for index, frame in self._in_order(left):
                    turn = self._source.turn
                    yield index, frame
                    last = index
                    if self._source.turn != turn:
                        break  # the position is lost: search for the rest again
                else:
                    return
            except _WrongOrderError as error:
                self._correct_table(error)
                if table.packet is None or not self._source.table.begins_with(table.packet[: last + 1]):
                    raise self._wrong_times() from None

    def every_frame(self) -> Iterator[Any]:
        """Yields all frames in display order.

        Raises:
            DecodeError: at the first frame that cannot be decoded.
        """
        source = self._source
        index, count = 0, source.table.times.num_frames
        for frame in source.decode_all():
            packet = source.table.packet
            if index == count or (packet is not None and packet[index] != frame.pts):
                break
            yield frame
            index += 1
        else:
            if index == count:
                return
        raise DecodeError(source.name, "corrupt", f"frame {index} of {count} cannot be decoded")

    def _in_order(self, indices: np.ndarray) -> Iterator[tuple[int, Any]]:
        """Yields (index, frame) for ascending indices; holds frames back while one before them is missing.

        If the missing frame comes later, the order is refuted, and the frames held back may be wrong.
        """
        expected, held = map(int, indices), deque[tuple[int, Any]]()
        due: float = next(expected, math.inf)
        for start in range(0, len(indices), _WALK_FRAMES):
            for index, frame in self._from_keys(indices[start : start + _WALK_FRAMES]):
                held.append((index, frame))
                while held and (held[0][0] <= due or len(held) > _MOST_HELD):
                    index, frame = held.popleft()
                    while due <= index:
                        due = next(expected, math.inf)
                    yield index, frame
        yield from held

    def _correct_table(self, error: _WrongOrderError) -> None:
        """Corrects the table after its order was refuted, or raises a DecodeError."""
        if not self._source.correct_table(error.first, error.last):
            raise self._wrong_times() from None

    def _wrong_times(self) -> DecodeError:
        return DecodeError(self._source.name, "corrupt", "the timestamps of its frames are wrong")

    def _from_keys(self, indices: np.ndarray) -> Iterator[tuple[int, Any]]:
        """Yields (index, frame) of the wanted frames; decodes from key frames on, and only what is needed.

        Raises:
            _WrongOrderError: if the decoder outputs frames in another order than that of the table.
        """
        table = self._source.table
        if table.packet is None:
            return
        by_packet = dict(zip(table.packet[indices].tolist(), indices.tolist(), strict=True))
        place = len(table.packets.pts) + 1  # number of the next packet; after the scan, past the end
        packets: Iterator[Any] = iter(())
        wanted = by_packet if self._source.may_skip else None
        for first, last in table.runs(indices):
            # Go to the key frame of the run: by seeking, unless it is near.
            if not place <= first <= place + _SEEK_PACKETS:
                packets, place = self._source.from_packet(first)
            newest, key = -1, table.frame_of(first) if first else -1
            for frame in self._decode_run(packets, place, first, last, wanted):
                index = table.frame_of(frame.pts)
                # The container may mark frames as key frames at which decoding cannot start.
                if newest < key <= index and (index > key or frame.pict_type in _REFERRING):
                    self._source.flush()
                    return
                # Frames must come in the order of the table.
                if 0 <= index < newest:
                    self._source.flush()
                    raise _WrongOrderError(first, last)
                newest = max(index, newest)
                if by_packet.pop(frame.pts, None) is not None:
                    yield index, frame
            place = last + 1
            # The decoder has no frames left; reset it for the next run.
            self._source.flush()

    def _decode_run(
        self, packets: Iterator[Any], place: int, first: int, last: int, wanted: Container[int] | None
    ) -> Iterator[Any]:
        """Yields the frames of the packets from number ``first`` to ``last``.

        Args:
            packets: from number ``place`` on, at or before ``first``.
            wanted: numbers of packets whose frames must not be skipped; None: skip no frame.
        """
        for number, packet in enumerate(itertools.islice(packets, last + 1 - place), place):
            if number < first:
                continue  # before the key frame
            self._source.skip_unreferenced(wanted is not None and number not in wanted)
            yield from self._source.decode(packet)
        yield from self._source.decode(None)

    def _from_start(self, indices: np.ndarray) -> Iterator[tuple[int, Any]]:
        """Yields the same as :meth:`_from_keys`, decoding everything from the first packet on."""
        if self._source.table.packet is None:
            return
        by_packet = dict(zip(self._source.table.packet[indices].tolist(), indices.tolist(), strict=True))
        for frame in self._source.decode_all():
            index = by_packet.pop(frame.pts, None)
            if index is not None:
                yield index, frame
            if not by_packet:
                return

    def _by_counting(self, indices: np.ndarray) -> Iterator[tuple[int, Any]]:
        """Yields (index, frame) of the wanted frames, counted in the order of the decoder's output."""
        if not len(indices):
            return
        table = self._source.table
        if table.packet is not None and self._source.num_decodable != table.times.num_frames:
            # The order is known and frames are gone: counting would give their neighbours instead.
            return
        wanted, last = set(indices.tolist()), int(indices.max())
        for index, frame in enumerate(self._source.decode_all()):
            if index in wanted:
                yield index, frame
            if index >= last:
                return
