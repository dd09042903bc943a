"""Exact frames of a video file through PyAV: only those wanted, scaled before they become RGB.

A scan of the packets gives the table of frames. Reading then decodes from key frames on, skips pictures
that nothing refers to, and recognises the wanted frames by their timestamps. Where timestamps are missing
or lie, frames are counted as the decoder gives them.

T frames, H W pixels, N frames of the video.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import av
import numpy as np

from slowfast.datasets.container import Source, open_container
from slowfast.datasets.frame_table import NO_PTS, FrameTable, PacketLog, build_table
from slowfast.datasets.picture import Picture
from slowfast.datasets.sampling import FrameTimes
from slowfast.datasets.spatial import Placer, whole_picture
from slowfast.errors import DecodeError

# A file of no more than this many bytes of packets is read once: the scan keeps its packets.
_KEEP_BYTES = 8 << 20
# Jumps over more packets than this are made by seeking, shorter ones by passing packets over.
_SEEK_PACKETS = 100

# Decoders that heed `skip_frame` packet by packet. (Others read it once, when they are opened.)
_SKIPPING_CODECS = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp8"})
# Containers that store when to decode a packet beside when to show it. Where the two differ, they are meant.
_WITH_DECODING_TIMES = frozenset({"mov", "mpegts", "flv"})
# Frames of a long walk that are looked for at a time.
_WALK_FRAMES = 4096

# What the decoder finds wrong with a file is said by a DecodeError, not by lines on the terminal.
av.logging.set_level(av.logging.PANIC)


class PyAVVideo:
    """An open video file. Close it, or use it in a ``with`` statement.

    Args:
        source: a path, or a seekable binary file.

    Raises:
        DecodeError: for whatever is no decodable video; here, or when the frames are first asked for.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        is_path = isinstance(source, str | os.PathLike)
        self.name = str(source) if is_path else getattr(source, "name", "<file>")
        self._kept: list[Any] | None = None
        self._demux_failed = False
        self._container: Any = None
        self._open()

    def __enter__(self) -> PyAVVideo:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._kept = None
        if self._container is not None:
            self._container.close()
            self._container = None

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
        return float(self._stream.average_rate or self._stream.guessed_rate or 25)

    @property
    def claimed_frames(self) -> int:
        """Number of frames as the header has it; 0 where it does not say."""
        return self._stream.frames

    @property
    def claimed_ticks_per_frame(self) -> float | None:
        """The header's duration over its number of frames; None where it does not say."""
        if not self._stream.duration or not self._stream.frames:
            return None
        return self._stream.duration / self._stream.frames

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
        picture = Picture(len(indices), placer or whole_picture())
        slots: dict[int, list[int]] = {}
        for slot, index in enumerate(indices.tolist()):
            slots.setdefault(index, []).append(slot)
        wanted = len(slots)

        # Each way takes the frames that it finds out of ``slots``, and is only tried where some are left.
        for read in (self._read_from_keys, self._read_by_timestamp, self._read_by_counting):
            for index, frame in read(np.array(list(slots))) if slots else ():
                picture.put(frame, slots.pop(index))
        if slots:
            missing = ", ".join(map(str, sorted(slots)[:5]))
            raise DecodeError(self.name, "corrupt", f"{len(slots)} of {wanted} frames missing: {missing}")
        return picture.frames()

    def read_chunks(
        self, indices: np.ndarray, size: int, placer: Placer | None = None
    ) -> Iterator[np.ndarray]:
        """The same in one walk through the video with flat memory, for ascending indices without repeats.

        Yields:
            (t, H, W, 3) uint8, t = ``size`` frames, fewer in the last chunk.
        """
        placer = placer or whole_picture()
        walk = self._walk(np.asarray(indices, np.int64))
        ahead = next(walk, None)
        for start in range(0, len(indices), size):
            chunk = indices[start : start + size]
            slots = {int(index): [slot] for slot, index in enumerate(chunk)}
            picture = Picture(len(chunk), placer)
            while ahead is not None and ahead[0] <= chunk[-1]:
                index, frame = ahead
                if index in slots:
                    picture.put(frame, slots.pop(index))
                ahead = next(walk, None)
            if slots:
                # By the slower ways, on a decoder of its own: the walk goes on afterwards.
                with PyAVVideo(self._source) as again:
                    yield again.read(chunk, placer)
            else:
                yield picture.frames()

    def stream(self, placer: Placer | None = None) -> Iterator[np.ndarray]:
        """Yields every decodable frame in order, (H, W, 3) uint8, not flipped; memory does not grow."""
        picture = Picture(1, placer or whole_picture())
        for frame in self._decode_all():
            yield picture.view(frame)

    # ------------------------------------------------------------------------------- packets

    def _open(self) -> None:
        source = self._source
        if isinstance(source, str | os.PathLike):
            _refuse_other_than_files(os.fspath(source))
        else:
            source.seek(0)
        try:
            self._container = open_container(source)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DecodeError(self.name, _reason_of(error), str(error)) from error
        streams = self._container.streams.video
        if not streams or streams[0].codec_context is None:
            self.close()
            raise DecodeError(self.name, "no decoder" if streams else "no video stream")
        self._stream = streams[0]
        # Threads cost more than they bring on clips; loading is parallel over workers.
        self._stream.thread_type = "NONE"
        self._stream.codec_context.thread_count = 1
        self._is_at_start = True

    def _demux(self) -> Iterator[Any]:
        """The stream's packets from where the container stands to the end or the first error.

        A last packet within which the file ends is left out.
        """
        self._is_at_start = False
        packets = self._container.demux(self._stream)
        doubtful = None
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError):
                self._demux_failed = True
                return
            if not packet.size:  # an empty packet marks the end
                continue
            if doubtful is not None:
                yield doubtful
            doubtful = packet if packet.is_corrupt else None
            if doubtful is None:
                yield packet

    @cached_property
    def _table(self) -> FrameTable:
        log, damaged, kept_bytes = PacketLog(), False, 0
        kept: list[Any] | None = []
        # Alternate reference frames of VP8 are packets of their own that show nothing.
        has_hidden = self._stream.codec_context.name == "vp8"
        waits = False  # whether a packet is decoded at another time than it is shown
        for packet in self._from_start():
            hidden = packet.is_discard or (has_hidden and not bytes(memoryview(packet)[:1])[0] & 0x10)
            log.add(packet.pts, packet.duration, packet.is_keyframe, not hidden)
            damaged |= packet.is_corrupt
            waits |= packet.pts != packet.dts
            kept_bytes += packet.size
            if kept is not None:
                kept.append(packet)
            if kept_bytes > _KEEP_BYTES:
                kept = None
        self._kept = kept
        table = build_table(
            log,
            tick=float(self._stream.time_base),
            rate=self.average_rate,
            reorders=bool(self._stream.codec_context.has_b_frames) and not (waits and self._has_both_times),
            damaged=damaged or self._demux_failed,
        )
        if table is None:
            raise DecodeError(self.name, "no frames")
        return table

    @property
    def _has_both_times(self) -> bool:
        return not _WITH_DECODING_TIMES.isdisjoint(self._container.format.name.split(","))

    def _from_start(self) -> Iterator[Any]:
        """All packets, for a fresh decoder. Opens the file again, as not every container can seek."""
        if self._kept:
            self._stream.codec_context.flush_buffers()
            return iter(self._kept)
        if not self._is_at_start:
            self._container.close()
            self._open()
        return self._demux()

    def _from_packet(self, first: int) -> tuple[Iterator[Any], int]:
        """Goes to a packet at or before number ``first``. Returns the packets from there, and its number."""
        if self._kept:
            return itertools.islice(self._kept, first, None), first
        packet_pts = self._table.packet_pts
        try:
            self._container.seek(int(packet_pts[first]), stream=self._stream)
        except (av.FFmpegError, OSError):
            return self._from_start(), 0
        packets = self._demux()
        head = next(packets, None)
        # Not every container keeps its promise: look which packet it is.
        landed = np.flatnonzero(packet_pts == (NO_PTS if head is None else head.pts))
        if len(landed) == 1 and landed[0] <= first:
            return itertools.chain([head], packets), int(landed[0])
        return self._from_start(), 0

    # -------------------------------------------------------------------------------- frames

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
        # What a damaged stream shows depends on everything before it.
        may_skip = not table.damaged and self._stream.codec_context.name in _SKIPPING_CODECS
        for first, last in table.runs(indices):
            if not place <= first <= place + _SEEK_PACKETS:
                packets, place = self._from_packet(first)
            context = self._stream.codec_context
            for packet in itertools.islice(packets, last + 1 - place):
                place += 1
                if place <= first:
                    continue
                skip = may_skip and packet.pts not in by_pts
                context.skip_frame = "NONREF" if skip else "DEFAULT"
                yield from _wanted(self._decode(packet), by_pts)
            # The frames that the decoder still holds; then it starts anew, at a key frame.
            yield from _wanted(self._decode(None), by_pts)
            context.flush_buffers()

    def _read_by_timestamp(self, indices: np.ndarray) -> Iterator[tuple[int, Any]]:
        """The same from the first packet on, skipping nothing."""
        if self._table.pts is None:
            return
        by_pts = dict(zip(self._table.pts[indices].tolist(), indices.tolist(), strict=True))
        for frame in self._decode_all():
            yield from _wanted([frame], by_pts)
            if not by_pts:
                return

    def _read_by_counting(self, indices: np.ndarray) -> Iterator[tuple[int, Any]]:
        """Frames counted as the decoder gives them."""
        if self._table.pts is not None and sum(1 for _ in self._decode_all()) != self.times.num_frames:
            # The timestamps were good and frames are gone: counting would give their neighbours.
            return
        wanted, last = set(indices.tolist()), int(indices.max())
        for index, frame in enumerate(self._decode_all()):
            if index in wanted:
                yield index, frame
            if index >= last:
                return

    def _decode(self, packet: Any) -> list[Any]:
        """The frames that a packet (None: the end) releases; a broken packet releases none."""
        try:
            return self._stream.codec_context.decode(packet)
        except (av.FFmpegError, OSError):
            return []

    def _decode_all(self) -> Iterator[Any]:
        packets = self._from_start()
        self._stream.codec_context.skip_frame = "DEFAULT"
        for packet in packets:
            yield from self._decode(packet)
        yield from self._decode(None)


def _wanted(frames: list[Any], by_pts: dict[int, int]) -> Iterator[tuple[int, Any]]:
    """Picks out the frames of wanted timestamps, each once, with their indices."""
    for frame in frames:
        index = by_pts.pop(frame.pts, None)
        if index is not None:
            yield index, frame


def _refuse_other_than_files(path: str) -> None:
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise DecodeError(path, _reason_of(error), str(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise DecodeError(path, "not a file")
    if status.st_size == 0:
        raise DecodeError(path, "empty")


def _reason_of(error: Exception) -> str:
    """The class that reports count by."""
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, PermissionError):
        return "not permitted"
    if isinstance(error, MemoryError):  # mostly a header that claims more than there is
        return "memory"
    if isinstance(error, av.InvalidDataError | av.ArgumentError | av.EOFError | ValueError):
        return "not a video"
    return "unreadable"
