"""Access to the packets of a video stream: opening, the frame table, seeking, decoding of one packet.

PyAV seeks to timestamps only and does not say where it arrives, so that exact frames need this layer: it
checks each seek against the frame table and reads from the start where a container cannot seek.

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

# The scan keeps the packets of a file with at most this many bytes of them, so that it is read once.
_KEEP_BYTES = 8 << 20
# Decoders that obey `skip_frame` packet by packet. (Others read it only when they are opened.)
_SKIPPING_CODECS = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp8"})
# Containers that store a decoding time beside the display time. Where the two differ, both were intended.
_WITH_DECODING_TIMES = frozenset({"mov", "mpegts", "flv"})

# The decoder's findings are reported as a DecodeError, not as lines on the terminal.
av.logging.set_level(av.logging.PANIC)


class PacketSource:
    """The video stream of an open file, and its decoder.

    Args:
        source: a path, or a seekable binary file.
        threads: number of decoding threads; the decoder works on as many frames at a time.
        table: the frame table, if another source of the same file has made it; None scans the packets.

    Raises:
        DecodeError: if the source is not a decodable video.
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
        """Closes the file; a second call has no effect."""
        self._kept = None
        if self._container is not None:
            self._container.close()
            self._container = None

    @property
    def average_rate(self) -> float:
        """Frames per second from the container's header; 25 where the header has no rate."""
        return float(self.stream.average_rate or self.stream.guessed_rate or 25)

    @property
    def may_skip(self) -> bool:
        """Whether frames that no other frame refers to can be skipped.

        Not in damaged streams, as concealed frames depend on every packet before them.
        """
        return not self.table.damaged and self.stream.codec_context.name in _SKIPPING_CODECS

    def skip_unreferenced(self, skip: bool) -> None:
        """Makes the decoder drop frames that no other frame refers to, from the next packet on."""
        self.stream.codec_context.skip_frame = "NONREF" if skip else "DEFAULT"

    def flush(self) -> None:
        """Resets the decoder; the next packet must be one of a key frame."""
        self.stream.codec_context.flush_buffers()

    def _open(self) -> None:
        source = self._source
        if isinstance(source, str | os.PathLike):
            _check_is_file(os.fspath(source))
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
        # Decoding of clips by one thread: more threads cost more than they save, and workers run in parallel.
        self.stream.thread_type = "NONE" if self._threads == 1 else "FRAME"
        self.stream.codec_context.thread_count = self._threads
        self._is_at_start = True

    def _demux(self) -> Iterator[Any]:
        """Yields the stream's packets from the container's position to the end or the first error.

        A last packet that the end of the file cuts off is left out.
        """
        self._is_at_start = False
        packets = self._container.demux(self.stream)
        cut_off = None  # a packet with errors, which is only left out if it is the last one
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError):
                self._demux_failed = True
                return
            if not packet.size:  # the mark of the end
                continue
            if cut_off is not None:
                yield cut_off
            cut_off = packet if packet.is_corrupt else None
            if cut_off is None:
                yield packet

    @cached_property
    def table(self) -> FrameTable:
        """The frame table, from a scan of all packets."""
        log, damaged, kept_bytes = PacketLog(), False, 0
        kept: list[Any] | None = []
        # Alternate reference frames of VP8 are separate packets that show nothing.
        has_hidden = self.stream.codec_context.name == "vp8"
        waits = False  # True if a packet is decoded at another time than it is shown
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
        """Returns all packets, for a reset decoder. Opens the file again, as not every container can seek."""
        if self._kept:
            self.flush()
            return iter(self._kept)
        if not self._is_at_start:
            self._container.close()
            self._open()
        return self._demux()

    def from_packet(self, first: int) -> tuple[Iterator[Any], int]:
        """Seeks to a packet at or before number ``first``.

        Returns:
            The packets from there on, and the number of the first of them.
        """
        if self._kept:
            return itertools.islice(self._kept, first, None), first
        # Ask the container for the packet's timestamp.
        packet_pts = self.table.packet_pts
        try:
            self._container.seek(int(packet_pts[first]), stream=self.stream)
        except (av.FFmpegError, OSError):
            return self.from_start(), 0
        packets = self._demux()
        head = next(packets, None)
        # Containers may arrive elsewhere: find the number of the packet by its timestamp.
        landed = np.flatnonzero(packet_pts == (NO_PTS if head is None else head.pts))
        if len(landed) == 1 and landed[0] <= first:
            return itertools.chain([head], packets), int(landed[0])
        # An unknown packet, or one after the goal: read from the start.
        return self.from_start(), 0

    def decode(self, packet: Any) -> list[Any]:
        """Returns the frames that a packet (None: the end) releases; a broken packet releases no frame."""
        try:
            return self.stream.codec_context.decode(packet)
        except (av.FFmpegError, OSError):
            return []

    def decode_all(self) -> Iterator[Any]:
        """Yields every decodable frame in display order."""
        packets = self.from_start()
        self.skip_unreferenced(False)
        for packet in packets:
            yield from self.decode(packet)
        yield from self.decode(None)

    @cached_property
    def num_decodable(self) -> int:
        """Number of frames that the decoder outputs; counted by decoding the whole video."""
        return sum(1 for _ in self.decode_all())


def _check_is_file(path: str) -> None:
    """Raises a DecodeError unless a path is that of a file with content."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise DecodeError(path, _reason_of(error), str(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise DecodeError(path, "not a file")
    if status.st_size == 0:
        raise DecodeError(path, "empty")


def _reason_of(error: Exception) -> str:
    """Returns the class of an error, by which reports count."""
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, PermissionError):
        return "not permitted"
    if isinstance(error, MemoryError):  # mostly a header that claims more data than the file has
        return "memory"
    if isinstance(error, av.InvalidDataError | av.ArgumentError | av.EOFError | ValueError):
        return "not a video"
    return "unreadable"
