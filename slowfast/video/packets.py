"""Access to the packets of a video stream: opening, the frame table, seeking, decoding of one packet.

PyAV seeks to timestamps only and does not say where it arrives, so that exact frames need this layer: it
checks each seek against the frame table and reads from the start where a container cannot seek.

Packets are handed to the decoder with their number in place of their timestamp. The decoder copies it to the
frame, which so tells its packet, whatever the container's timestamps are.

N frames of the video, P packets.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import av
import numpy as np

from slowfast.errors import DecodeError
from slowfast.video.container import (
    Address,
    Source,
    check_is_file,
    choose_video_stream,
    is_complete_jpeg,
    is_dependent,
    is_end,
    open_container,
    open_error_text,
    reason_of,
    refuse_damage,
)
from slowfast.video.frame_table.scan import make_table
from slowfast.video.frame_table.table import FrameTable
from slowfast.video.heif import HeifError, HeifImage, crop_frame, join_tiles, read_heif
from slowfast.video.orientation import UPRIGHT, orientation_of

# Decoders that obey `skip_frame` packet by packet. (Others read it only when they are opened.)
_SKIPPING_CODECS = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp8"})
# The decoder's findings are reported as a DecodeError, not as lines on the terminal. Any level would make a
# close hang while threads decode, see `_with_reason` in container.py.
av.logging.set_level(None)


class PacketSource:
    """The video stream of an open file, and its decoder.

    One thread may close it while another reads: reading ends with a DecodeError, ``closed``, at the next
    packet. Without the lock, the reader would use memory that FFmpeg has freed.

    Args:
        source: a path, a seekable binary file, or an address.
        threads: number of decoding threads; the decoder works on as many frames at a time.
        table: the frame table, if another source of the same file has made it; None scans the packets.

    Attributes:
        stated_size: (height, width) of the frames by the header; zeros where the header does not state it.
        demux_failed: True if reading ended with an error.
        refused_packets: number of packets that the decoder refused.
        turn: counts how often packets were asked for from another position. A reader that finds another
            number than before must restart: the position and the decoder are those of another reader then.

    Raises:
        DecodeError: if the source is not a decodable video.
    """

    def __init__(self, source: Source, threads: int = 1, table: FrameTable | None = None) -> None:
        self._source = source
        self._threads = threads
        is_path = isinstance(source, str | os.PathLike)
        self.name = str(source) if is_path else getattr(source, "name", "<file>")
        if isinstance(source, Address):
            self.name = source.url
        self._kept: list[Any] | None = None
        self.demux_failed = False
        self.refused_packets = 0
        self.turn = 0
        self._container: Any = None
        self._closed = False
        self._lock = threading.RLock()  # held while a packet is read or decoded
        self._heif: HeifImage | None = None
        if table is not None:
            self.table = table
        self._open()

    def close(self) -> None:
        """Closes the file, after the packet that another thread reads; a second call has no effect."""
        self._closed = True  # before the lock is free: a thread that reads may take it many times in a row
        with self._lock:
            self._kept = None
            if self._container is not None:
                self._container.close()
                self._container = None

    def _require_open(self) -> None:
        if self._closed:
            raise DecodeError(self.name, "closed", "open the video again to read more of it")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames in pixels, as stored; by the header, if it states them."""
        image = self._heif or self.stream.codec_context
        # The decoder changes its own statement where the size of the frames changes.
        return (image.height, image.width) if 0 in self.stated_size else self.stated_size

    @property
    def formats(self) -> frozenset[str]:
        """FFmpeg's names of the container's format."""
        return frozenset(self._container.format.name.split(","))

    @property
    def average_rate(self) -> float:
        """Frames per second from the container's header; 25 where the header has no rate."""
        return float(self.rate)

    @property
    def rate(self) -> Fraction:
        """The same as ``average_rate``, exactly."""
        return self.stream.average_rate or self.stream.guessed_rate or Fraction(25)

    @property
    def announced_seconds(self) -> float | None:
        """Duration of the stream from the container's header; None where the header has no such duration."""
        if self.stream.duration:
            return float(self.stream.duration * self.stream.time_base)
        if self._container.duration and len(self._container.streams) == 1:
            return self._container.duration / av.time_base
        return None

    @property
    def may_skip(self) -> bool:
        """Whether frames that no other frame refers to can be skipped.

        Not in damaged streams, where concealed frames depend on every packet before them, nor in packed ones.
        """
        may = not self.table.damaged and not self.table.packed
        return may and self.stream.codec_context.name in _SKIPPING_CODECS

    def skip_unreferenced(self, skip: bool) -> None:
        """Makes the decoder drop frames that no other frame refers to, from the next packet on."""
        self.stream.codec_context.skip_frame = "NONREF" if skip else "DEFAULT"

    def flush(self) -> None:
        """Resets the decoder; the next packet must be one of a key frame."""
        with self._lock:
            self._require_open()
            self.stream.codec_context.flush_buffers()

    def _open(self) -> None:
        source = self._source
        if isinstance(source, str | os.PathLike):
            check_is_file(os.fspath(source))
        elif not isinstance(source, Address):
            source.seek(0)
        try:
            self._heif = None if isinstance(source, Address) else read_heif(source)
            self._container = open_container(source)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DecodeError(self.name, reason_of(error), open_error_text(error)) from error
        stream = choose_video_stream(self._container, self.name)
        if stream is None or stream.codec_context is None:
            has_images = bool(self._container.streams.video)
            self.close()
            if stream is not None:
                raise DecodeError(self.name, "no decoder")
            raise DecodeError(self.name, "no video stream", "only a cover image" if has_images else "")
        if is_dependent(stream) and self._heif is None:
            self.close()
            raise DecodeError(self.name, "not convertible", "an image in tiles whose layout is not known")
        self.stream = stream
        # Decoding of clips by one thread: more threads cost more than they save, and workers run in parallel.
        self.stream.thread_type = "NONE" if self._threads == 1 else "FRAME"
        self.stream.codec_context.thread_count = self._threads
        image = self._heif or stream.codec_context
        self.stated_size = image.height, image.width
        self._is_jpeg = refuse_damage(self._container, self.stream)
        self._is_at_start = True

    def _demux(self) -> Iterator[Any]:
        """Yields the stream's packets from the container's position to the end or the first error.

        A last packet that the end of the file cuts off is left out.
        """
        self._is_at_start = False
        with self._lock:
            self._require_open()
            container = self._container
            packets = container.demux(self.stream)
        cut_off = None  # a packet with errors, which is only left out if it is the last one
        while True:
            try:
                with self._lock:
                    self._require_open()
                    if self._container is not container:  # closed and opened again for another reader
                        return
                    packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError):
                self.demux_failed = True
                return
            if is_end(packet):
                return
            if not packet.size:
                continue
            if cut_off is not None:
                yield cut_off
            cut_off = packet if packet.is_corrupt else None
            if cut_off is None:
                yield packet

    @cached_property
    def table(self) -> FrameTable:
        """The frame table, from a scan of all packets and, where they do not tell the order, by decoding."""
        return make_table(self)

    def correct_table(self, first: int, last: int) -> bool:
        """Corrects the table, whose order the decoder has refuted between two packets.

        The new table has the order of the decoder's output. Where frames are missing in that output while
        the others come in the order of the table, the file is damaged: the table keeps its order, and states
        which frames are lost.

        Returns:
            False if the decoder's output explains the order by neither; the table stays as it is then.
        """
        old = self.table
        assert old.packet is not None
        if old.lost:
            # The order of all other frames has been checked: the frames of these packets are lost as well.
            inside = np.flatnonzero((old.packet >= first) & (old.packet <= last))
            self.table = replace(old, lost=old.lost.union(inside.tolist()))
            return True
        new = make_table(self, by_decoding=True)
        if new.times.num_frames == old.times.num_frames:
            self.table = new
            return new.packet is None or not old.begins_with(new.packet)
        with_lost = None if new.packet is None else old.with_lost(new.packet)
        self.table = with_lost or old
        return with_lost is not None

    # -------------------------------------------------------------------------------- packets and frames

    def stored_packets(self) -> Iterator[Any]:
        """Returns all packets as stored. Opens the file again, as not every container can seek."""
        if not self._is_at_start:
            with self._lock:
                self._require_open()
                self._container.close()
                self._open()
        return self._demux()

    def keep(self, packets: list[Any] | None) -> None:
        """Keeps all packets of the stream, numbered, so that the file is not read again."""
        self._kept = packets

    def from_start(self) -> Iterator[Any]:
        """Returns all packets, numbered, for a reset decoder."""
        self.turn += 1
        if self._kept:
            self.flush()
            return iter(self._kept)
        return _numbered(self.stored_packets(), 0)

    def from_packet(self, first: int) -> tuple[Iterator[Any], int]:
        """Seeks to a packet at or before number ``first``.

        Returns:
            The packets from there on, numbered, and the number of the first of them.
        """
        self.turn += 1
        self.flush()
        if self._kept:
            return itertools.islice(self._kept, first, None), first
        # Ask the container for the packet's timestamp.
        self._is_at_start = False
        try:
            with self._lock:
                self._require_open()
                self._container.seek(int(self.table.packets.pts[first]), stream=self.stream)
        except (av.FFmpegError, OSError, OverflowError):
            return self.from_start(), 0
        packets = self._demux()
        head = next(packets, None)
        # Containers may arrive elsewhere: find the number of the packet by what is known of it.
        landed = None if head is None else self.table.number_of(head.pts, head.pos, head.size)
        if landed is not None and landed <= first:
            sizes = self.table.packets.sizes[landed:]
            return _numbered(_while_of_sizes(itertools.chain([head], packets), sizes), landed), landed
        # An unknown packet, or one after the goal: read from the start.
        return self.from_start(), 0

    def decode(self, packet: Any) -> list[Any]:
        """Returns the frames that a packet (None: the end) releases; a broken packet releases no frame."""
        with self._lock:
            self._require_open()
            return self._decode(packet)

    def _decode(self, packet: Any) -> list[Any]:
        context = self.stream.codec_context
        if self._is_jpeg and packet is not None and packet.size and not is_complete_jpeg(bytes(packet)):
            self.refused_packets += 1
            return []
        try:
            frames = context.decode(packet)
            return frames if self._heif is None else [self._full_image(frame) for frame in frames]
        except av.BlockingIOError:
            # After an error, some decoders (VP9) refuse all packets until they are reset.
            context.flush_buffers()
        except (av.FFmpegError, OSError):
            self.refused_packets += 1
            return []
        try:
            return context.decode(packet)
        except (av.FFmpegError, OSError):
            self.refused_packets += 1
            return []

    def _full_image(self, frame: Any) -> Any:
        """Returns the image of a HEIF file for a decoded frame."""
        assert self._heif is not None
        assert not isinstance(self._source, Address)
        if not self._heif.tiles:
            return crop_frame(frame, self._heif, self.stream)
        try:
            return join_tiles(frame, self._heif, self._source)
        except HeifError as error:
            raise DecodeError(self.name, "corrupt", str(error)) from error

    def decoded(self, packets: Iterable[Any]) -> Iterator[Any]:
        """Yields every frame of the given packets in the order of the decoder's output."""
        self.skip_unreferenced(False)
        for packet in packets:
            yield from self.decode(packet)
        yield from self.decode(None)

    def decode_all(self) -> Iterator[Any]:
        """Yields every frame of the table, as far as it is decodable, in display order.

        The video may be read otherwise between two frames; decoding then restarts from the first packet.
        """
        count, is_over = 0, False
        while not is_over:
            is_over = True
            for frame in itertools.islice(self._decode_all(), count, None):
                turn, count = self.turn, count + 1
                yield frame
                if self.turn != turn:
                    is_over = False
                    break

    def _decode_all(self) -> Iterator[Any]:
        packets = self.from_start()
        first = next(packets, None)
        if first is None:
            return
        # Where the stream begins between key frames, the table tells which frame is the first one.
        if not first.is_keyframe and self.table.packet is not None:
            shown = set(self.table.packet.tolist())
            frames = self.decoded(self.from_start())
            yield from (frame for frame in frames if frame.pts is None or frame.pts in shown)
            return
        yield from self.decoded(itertools.chain([first], packets))

    @cached_property
    def is_upright(self) -> bool:
        """False if frames are cropped, turned or mirrored before they are shown; decodes the first frame."""
        first = next(self.decode_all(), None)
        self.flush()
        return self._heif is None and first is not None and orientation_of(first) == UPRIGHT

    @cached_property
    def num_decodable(self) -> int:
        """Number of frames that the decoder outputs; counted by decoding the whole video."""
        return sum(1 for _ in self.decode_all())


def _while_of_sizes(packets: Iterable[Any], sizes: np.ndarray) -> Iterator[Any]:
    """Yields packets while they have the expected sizes; after seeking, some containers cut other packets."""
    for packet, size in zip(packets, map(int, sizes), strict=False):
        if packet.size != size:
            return
        yield packet


def _numbered(packets: Iterable[Any], first: int) -> Iterator[Any]:
    """Yields packets with their number, from ``first`` on, in place of their timestamp."""
    for number, packet in enumerate(packets, first):
        packet.pts = number
        yield packet
