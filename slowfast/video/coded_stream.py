"""The video stream of an open file: its header, its packets as stored, and the decoding of one packet.

H W pixels of a frame.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av

from slowfast.errors import DecodeError
from slowfast.video.container import (
    Source,
    check_is_file,
    choose_video_stream,
    is_dependent,
    is_end,
    open_container,
    open_error_text,
    reason_of,
)
from slowfast.video.still_images.damage import (
    ANIMATED,
    UNREADABLE,
    is_animated_webp,
    is_complete_jpeg,
    is_jpeg_in_tiff,
    refuse_damage,
)
from slowfast.video.still_images.heif import HeifError, HeifImage, crop_frame, join_tiles, read_heif


class CodedStream:
    """The video stream of an open file, and its decoder.

    One thread may close it while another reads: reading ends with a DecodeError, ``closed``, at the next
    packet. Without the lock, the reader would use memory that FFmpeg has freed.

    Args:
        source: a path, or a seekable binary file.
        threads: number of decoding threads; the decoder works on as many frames at a time.

    Attributes:
        name: of the source, for messages.
        stream: PyAV's stream.
        stated_size: (height, width) of the frames by the header; zeros where the header does not state it.
        demux_failed: True if reading ended with an error.
        refused_packets: number of packets that the decoder refused.

    Raises:
        DecodeError: if the source is not a decodable video.
    """

    stream: Any
    stated_size: tuple[int, int]

    def __init__(self, source: Source, threads: int = 1) -> None:
        self._source = source
        self._threads = threads
        is_path = isinstance(source, str | os.PathLike)
        self.name = str(source) if is_path else getattr(source, "name", "<file>")
        self.demux_failed = False
        self.refused_packets = 0
        self._container: Any = None
        self._reading: Any = None  # PyAV's generator of packets
        self._closed = False
        self._lock = threading.RLock()  # held while a packet is read or decoded
        self._heif: HeifImage | None = None
        self._open()

    def close(self) -> None:
        """Closes the file, after the packet that another thread reads; a second call has no effect."""
        self._closed = True  # before the lock is free: a thread that reads may take it many times in a row
        with self._lock:
            self._end_reading()
            if self._container is not None:
                self._container.close()
                self._container = None

    def _end_reading(self) -> None:
        """Closes PyAV's generator of packets, which frees its buffer only then, or at its end."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def _require_open(self) -> None:
        if self._closed:
            raise DecodeError(self.name, "closed", "open the video again to read more of it")

    def _open(self) -> None:
        source = self._source
        if isinstance(source, str | os.PathLike):
            check_is_file(os.fspath(source))
        try:
            self._heif = read_heif(source)
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
    def rate(self) -> Fraction:
        """Frames per second from the container's header; 25 where the header has no rate."""
        return self.stream.average_rate or self.stream.guessed_rate or Fraction(25)

    @property
    def announced_seconds(self) -> float | None:
        """Duration of the stream from the container's header; None where the header has no such duration."""
        if self.stream.duration:
            return float(self.stream.duration * self.stream.time_base)
        if self._container.duration and len(self._container.streams) == 1:
            return self._container.duration / av.time_base
        return None

    # -------------------------------------------------------------------------------- packets

    def stored_packets(self) -> Iterator[Any]:
        """Returns all packets as stored. Opens the file again, as not every container can seek."""
        if not self._is_at_start:
            with self._lock:
                self._require_open()
                self._end_reading()
                self._container.close()
                self._open()
        return self._demux()

    def seek(self, pts: int) -> Iterator[Any] | None:
        """Goes to a timestamp, and returns the packets from where the container arrives, maybe elsewhere.

        Returns:
            None where the container cannot seek.
        """
        self._is_at_start = False
        try:
            with self._lock:
                self._require_open()
                self._container.seek(pts, stream=self.stream)
        except (av.FFmpegError, OSError, OverflowError):
            return None
        return self._demux()

    def _demux(self) -> Iterator[Any]:
        """Yields the stream's packets from the container's position to the end or the first error.

        A last packet that the end of the file cuts off is left out.
        """
        self._is_at_start = False
        with self._lock:
            self._require_open()
            self._end_reading()
            packets = self._reading = self._container.demux(self.stream)
        cut_off = None  # a packet with errors, which is only left out if it is the last one
        while True:
            try:
                with self._lock:
                    self._require_open()
                    if self._reading is not packets:  # another reader has gone elsewhere
                        return
                    packet = next(packets)
            except StopIteration:
                return
            except MemoryError as error:
                raise self._no_memory(error) from error
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

    # -------------------------------------------------------------------------------- frames

    def skip_unreferenced(self, skip: bool) -> None:
        """Makes the decoder drop frames that no other frame refers to, from the next packet on."""
        self.stream.codec_context.skip_frame = "NONREF" if skip else "DEFAULT"

    def flush(self) -> None:
        """Resets the decoder; the next packet must be one of a key frame."""
        with self._lock:
            self._require_open()
            self.stream.codec_context.flush_buffers()

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
        if context.name == "tiff" and packet is not None and is_jpeg_in_tiff(bytes(packet)):
            raise DecodeError(self.name, "no decoder", UNREADABLE)
        for _ in range(2):
            try:
                frames = context.decode(packet)
                return frames if self._heif is None else [self._full_image(frame) for frame in frames]
            except av.BlockingIOError:
                # After an error, some decoders (VP9) refuse all packets until they are reset.
                context.flush_buffers()
            except MemoryError as error:
                raise self._no_memory(error) from error
            except (av.FFmpegError, OSError):
                break
        if context.name == "webp" and packet is not None and is_animated_webp(bytes(packet)):
            raise DecodeError(self.name, "no decoder", ANIMATED)
        self.refused_packets += 1
        return []

    def _no_memory(self, error: MemoryError) -> DecodeError:
        """Returns an error of the whole video, since it would look damaged without the packet."""
        return DecodeError(self.name, reason_of(error), open_error_text(error))

    def _full_image(self, frame: Any) -> Any:
        """Returns the image of a HEIF file for a decoded frame."""
        assert self._heif is not None
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
