"""The packets of a video file's stream: opening, the table of frames, going to a packet, decoding one.

N frames of the video, P packets.
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

from slowfast.errors import DecodeError
from slowfast.video.container import Source, open_container
from slowfast.video.frame_table import NO_PTS, FrameTable, PacketLog, build_table

# A file of no more than this many bytes of packets is read once: the scan keeps its packets.
_KEEP_BYTES = 8 << 20
# Decoders that heed `skip_frame` packet by packet. (Others read it once, when they are opened.)
_SKIPPING_CODECS = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp8"})
# Containers that store when to decode a packet beside when to show it. Where the two differ, they are meant.
_WITH_DECODING_TIMES = frozenset({"mov", "mpegts", "flv"})

# What the decoder finds wrong with a file is said by a DecodeError, not by lines on the terminal.
av.logging.set_level(av.logging.PANIC)


class PacketSource:
    """The video stream of an open file, and its decoder.

    Args:
        source: a path, or a seekable binary file.
        threads: of the decoder, which works on as many frames at a time.
        table: of the frames, where another source of the same file has made it; None: packets are scanned.

    Raises:
        DecodeError: for whatever is no decodable video.
    """

    def __init__(self, source: Source, threads: int = 1, table: FrameTable | None = None) -> None:
        self._source = source
        self._threads = threads
        is_path = isinstance(source, str | os.PathLike)
        self.name = str(source) if is_path else getattr(source, "name", "<file>")
        self._kept: list[Any] | None = None
        self._demux_failed = False
        self._container: Any = None
        if table is not None:
            self.table = table
        self._open()

    def close(self) -> None:
        self._kept = None
        if self._container is not None:
            self._container.close()
            self._container = None

    @property
    def average_rate(self) -> float:
        """Frames per second as the container has it; 25 where it does not say."""
        return float(self.stream.average_rate or self.stream.guessed_rate or 25)

    @property
    def may_skip(self) -> bool:
        """Whether pictures that nothing refers to can be skipped: not where damage is, as what a damaged
        stream shows depends on everything before it."""
        return not self.table.damaged and self.stream.codec_context.name in _SKIPPING_CODECS

    def skip_unreferenced(self, skip: bool) -> None:
        """Whether the decoder drops pictures that nothing refers to, from the next packet on."""
        self.stream.codec_context.skip_frame = "NONREF" if skip else "DEFAULT"

    def flush(self) -> None:
        """Makes the decoder start anew, at a key frame."""
        self.stream.codec_context.flush_buffers()

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
        self.stream = streams[0]
        # Threads cost more than they bring on clips, and loading is parallel over workers.
        self.stream.thread_type = "NONE" if self._threads == 1 else "FRAME"
        self.stream.codec_context.thread_count = self._threads
        self._is_at_start = True

    def _demux(self) -> Iterator[Any]:
        """The stream's packets from where the container stands to the end or the first error.

        A last packet within which the file ends is left out.
        """
        self._is_at_start = False
        packets = self._container.demux(self.stream)
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
    def table(self) -> FrameTable:
        """The frames of the stream, from a scan of its packets."""
        log, damaged, kept_bytes = PacketLog(), False, 0
        kept: list[Any] | None = []
        # Alternate reference frames of VP8 are packets of their own that show nothing.
        has_hidden = self.stream.codec_context.name == "vp8"
        waits = False  # whether a packet is decoded at another time than it is shown
        for packet in self.from_start():
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
            tick=float(self.stream.time_base),
            rate=self.average_rate,
            reorders=bool(self.stream.codec_context.has_b_frames) and not (waits and self._has_both_times),
            damaged=damaged or self._demux_failed,
        )
        if table is None:
            raise DecodeError(self.name, "no frames")
        return table

    @property
    def _has_both_times(self) -> bool:
        return not _WITH_DECODING_TIMES.isdisjoint(self._container.format.name.split(","))

    def from_start(self) -> Iterator[Any]:
        """All packets, for a fresh decoder. Opens the file again, as not every container can seek."""
        if self._kept:
            self.flush()
            return iter(self._kept)
        if not self._is_at_start:
            self._container.close()
            self._open()
        return self._demux()

    def from_packet(self, first: int) -> tuple[Iterator[Any], int]:
        """Goes to a packet at or before number ``first``. Returns the packets from there, and its number."""
        if self._kept:
            return itertools.islice(self._kept, first, None), first
        packet_pts = self.table.packet_pts
        try:
            self._container.seek(int(packet_pts[first]), stream=self.stream)
        except (av.FFmpegError, OSError):
            return self.from_start(), 0
        packets = self._demux()
        head = next(packets, None)
        # Not every container keeps its promise: look which packet it is.
        landed = np.flatnonzero(packet_pts == (NO_PTS if head is None else head.pts))
        if len(landed) == 1 and landed[0] <= first:
            return itertools.chain([head], packets), int(landed[0])
        return self.from_start(), 0

    def decode(self, packet: Any) -> list[Any]:
        """The frames that a packet (None: the end) releases; a broken packet releases none."""
        try:
            return self.stream.codec_context.decode(packet)
        except (av.FFmpegError, OSError):
            return []

    def decode_all(self) -> Iterator[Any]:
        """Every decodable frame, in the order they are shown."""
        packets = self.from_start()
        self.skip_unreferenced(False)
        for packet in packets:
            yield from self.decode(packet)
        yield from self.decode(None)

    @cached_property
    def num_decodable(self) -> int:
        """How many frames the decoder gives, all being decoded for that."""
        return sum(1 for _ in self.decode_all())


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
