"""Exact frames of a video file through PyAV: only those wanted, scaled before they become RGB.

A demux scan gives the table of frames: when each is shown and where decoding must start for it. Reading
then decodes from key frames on, skips pictures that nothing refers to, and recognises the wanted frames
by their timestamps. Where timestamps are missing or lie, frames are counted as the decoder gives them.

T frames, H W pixels, N frames of the video.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from slowfast.datasets.sampling import FrameTimes
from slowfast.datasets.spatial import Placement, Placer, whole_picture
from slowfast.errors import DecodeError

Source = str | os.PathLike[str] | BinaryIO

# Jumps over more packets than this are made by seeking, shorter ones by passing packets over.
_SEEK_PACKETS = 100
# Formats that are scaled as they are; others become RGB and are scaled in one step. (Scaling and
# converting 4:2:0 in one step darkens the picture by about one of 255.)
_SCALED_AS_THEY_ARE = frozenset(
    f"yuv{j}{chroma}p{depth}"
    for j in ("", "j")
    for chroma in (420, 422, 444)
    for depth in ("", "10le", "12le")
) | {"nv12"}

# Stands for a packet without a timestamp; FFmpeg's own mark.
_NO_PTS = np.iinfo(np.int64).min

av.logging.set_level(av.logging.PANIC)


@dataclass(frozen=True)
class _Table:
    """The displayed frames of a stream, in the order they are shown.

    Attributes:
        times: when.
        pts: (N,) int64 timestamps; None where they cannot be trusted and frames must be counted.
        packet: (N,) int64, place of each frame's packet in the stream.
        key_packet: (N,) int64, place of the packet that decoding must start from to show the frame.
        packet_pts: (P,) int64, timestamps of all packets in stream order.
        damaged: whether the scan met errors; what concealment shows then depends on every packet before.
    """

    times: FrameTimes
    pts: np.ndarray | None
    packet: np.ndarray
    key_packet: np.ndarray
    packet_pts: np.ndarray
    damaged: bool


class PyAVVideo:
    """An open video file. Close it, or use it in a ``with`` statement.

    Args:
        source: a path, or a seekable binary file.

    Attributes:
        times: when each frame is shown.

    Raises:
        DecodeError: for whatever is no decodable video.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name = (
            str(source) if isinstance(source, str | os.PathLike) else getattr(source, "name", "<file>")
        )
        self._container: Any = None
        self._open()
        try:
            self._table = self._scan()
        except BaseException:
            self.close()
            raise

    @property
    def times(self) -> FrameTimes:
        return self._table.times

    @property
    def pts(self) -> np.ndarray | None:
        """(N,) int64, the frames' timestamps in the stream's ticks; None where they cannot be trusted."""
        return self._table.pts

    @property
    def average_rate(self) -> float:
        """Frames per second as the container has it."""
        return float(self._stream.average_rate or self.times.fps)

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

    def __enter__(self) -> PyAVVideo:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

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
        picture = _Picture(len(indices), placer or whole_picture())
        slots: dict[int, list[int]] = {}
        for slot, index in enumerate(indices.tolist()):
            slots.setdefault(index, []).append(slot)

        if self._table.pts is not None:
            self._read_by_seeking(slots, picture)
            if slots:
                self._read_by_timestamp(slots, picture)
        if slots:
            self._read_by_counting(slots, picture)
        if slots:
            missing = ", ".join(str(index) for index in sorted(slots)[:5])
            raise DecodeError(
                self.name,
                "corrupt",
                f"{len(slots)} of {len(set(indices.tolist()))} frames missing: {missing}",
            )
        return picture.frames

    def stream(self, placer: Placer | None = None) -> Iterator[np.ndarray]:
        """Yields every decodable frame in order, (H, W, 3) uint8; memory does not grow.

        A yielded array is valid until the next one is asked for.
        """
        self._rewind()
        picture = _Picture(1, placer or whole_picture())
        for frame in self._decode_all():
            picture.put(frame, [0])
            yield picture.frames[0]

    # ------------------------------------------------------------------------------- opening

    def _open(self) -> None:
        source, options = self._source, {}
        if isinstance(source, str | os.PathLike):
            _refuse_other_than_files(os.fspath(source))
            # Named as a file, so that no path reads as a network address or a pattern of images;
            # playlists that claim to be videos may open nothing else.
            source, options = f"file:{os.fspath(source)}", {"protocol_whitelist": "file"}
        else:
            source.seek(0)
        try:
            self._container = av.open(source, options=options, metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DecodeError(self.name, _reason_of(error), str(error)) from error
        if not self._container.streams.video:
            self.close()
            raise DecodeError(self.name, "no video stream")
        self._stream = self._container.streams.video[0]
        # Threads cost more than they bring on clips; loading is parallel over workers.
        self._stream.thread_type = "NONE"
        self._stream.codec_context.thread_count = 1

    def _rewind(self) -> None:
        """Back to the first packet with a fresh decoder: opened again, as not every container can seek."""
        self.close()
        self._open()

    def _packets(self) -> Iterator[Any]:
        """The stream's packets to the end or the first error; sets ``_demux_failed`` on an error."""
        self._demux_failed = False
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError):
                self._demux_failed = True
                return
            if packet.size:  # an empty packet marks the end
                yield packet

    def _scan(self) -> _Table:
        pts: list[int | None] = []
        key, shown, durations = [], [], []
        # Alternate reference frames of VP8 are packets of their own that show nothing.
        has_hidden = self._stream.codec_context.name == "vp8"
        corrupt = cut_off = False
        for packet in self._packets():
            hidden = packet.is_discard or (has_hidden and not bytes(memoryview(packet)[:1])[0] & 0x10)
            pts.append(packet.pts)
            key.append(packet.is_keyframe)
            shown.append(not hidden)
            durations.append(packet.duration or 0)
            corrupt |= packet.is_corrupt
            cut_off = packet.is_corrupt
        if shown and cut_off:
            shown[-1] = False  # the file ends inside this packet
        where = np.flatnonzero(np.array(shown, bool))
        if len(where) == 0:
            raise DecodeError(self.name, "no frames")
        if not self._timestamps_are_right(pts, where):
            return self._counted_table(where, self._demux_failed or corrupt)

        all_pts = np.array([_NO_PTS if p is None else p for p in pts], np.int64)
        where = where[np.argsort(all_pts[where], kind="stable")]
        shown_pts = all_pts[where]
        key_packet = _key_packets(all_pts, np.array(key, bool), where)
        base = float(self._stream.time_base)
        seconds = (shown_pts - shown_pts[0]) * base
        last = durations[where[-1]] * base or self._typical_step(seconds)
        times = FrameTimes(seconds, float(seconds[-1]) + last)
        return _Table(times, shown_pts, where, key_packet, all_pts, self._demux_failed or corrupt)

    def _timestamps_are_right(self, pts: list[int | None], where: np.ndarray) -> bool:
        """False for timestamps missing, given twice, or in decoding order where frames are reordered."""
        shown = [pts[i] for i in where.tolist()]
        if None in shown or len(set(shown)) < len(shown):
            return False
        reorders = bool(self._stream.codec_context.has_b_frames)
        ascending = all(a < b for a, b in itertools.pairwise(shown))  # type: ignore[operator]
        return not (reorders and ascending and len(shown) > 1)

    def _counted_table(self, where: np.ndarray, damaged: bool) -> _Table:
        rate = float(self._stream.average_rate or self._stream.guessed_rate or 25)
        times = FrameTimes(np.arange(len(where)) / rate, len(where) / rate)
        nothing = np.zeros(0, np.int64)
        return _Table(times, None, where, nothing, nothing, damaged)

    def _typical_step(self, seconds: np.ndarray) -> float:
        if len(seconds) > 1:
            return float(np.median(np.diff(seconds)))
        return 1 / float(self._stream.average_rate or self._stream.guessed_rate or 25)

    # ------------------------------------------------------------------------------- reading

    def _read_by_seeking(self, slots: dict[int, list[int]], picture: _Picture) -> None:
        """Fills the slots whose frames come with the wanted timestamp; takes them out of ``slots``."""
        table = self._table
        assert table.pts is not None
        wanted = np.array(sorted(slots, key=lambda index: table.packet[index]))
        by_pts = {int(table.pts[index]): int(index) for index in wanted}
        place = len(table.packet_pts) + 1  # past the end after the scan: the first run seeks
        packets: Iterator[Any] = iter(())
        for first, last in _runs(table, wanted):
            if not place <= first <= place + _SEEK_PACKETS:
                packets, place = self._seek(first)
            context = self._stream.codec_context
            for packet in packets:
                place += 1
                if place <= first:
                    continue
                skip = not table.damaged and packet.pts not in by_pts
                context.skip_frame = "NONREF" if skip else "DEFAULT"
                self._take(packet, by_pts, slots, picture)
                if place > last:
                    break
            # Frames that the decoder still holds; afterwards it starts anew at a key frame.
            self._take(None, by_pts, slots, picture)
            context.flush_buffers()

    def _read_by_timestamp(self, slots: dict[int, list[int]], picture: _Picture) -> None:
        """The same from the first packet on, skipping nothing."""
        assert self._table.pts is not None
        by_pts = {int(self._table.pts[index]): index for index in slots}
        self._rewind()
        for frame in self._decode_all():
            index = by_pts.get(frame.pts)
            if index is not None and index in slots:
                picture.put(frame, slots.pop(index))
                if not slots:
                    return

    def _read_by_counting(self, slots: dict[int, list[int]], picture: _Picture) -> None:
        """Counts frames as the decoder gives them. Leaves ``slots`` alone where that cannot be right."""
        if self._table.pts is not None:
            # The timestamps were good and some frames are gone: counting would give their neighbours.
            self._rewind()
            if sum(1 for _ in self._decode_all()) != self._table.times.num_frames:
                return
        self._rewind()
        for index, frame in enumerate(self._decode_all()):
            if index in slots:
                picture.put(frame, slots.pop(index))
                if not slots:
                    return

    def _take(
        self, packet: Any, by_pts: dict[int, int], slots: dict[int, list[int]], picture: _Picture
    ) -> None:
        for frame in self._decode(packet):
            index = by_pts.get(frame.pts)
            if index is not None and index in slots:
                picture.put(frame, slots.pop(index))

    def _decode(self, packet: Any) -> list[Any]:
        """The frames that a packet (None: the end) releases; a broken packet releases none."""
        try:
            return self._stream.codec_context.decode(packet)
        except (av.FFmpegError, OSError):
            return []

    def _decode_all(self) -> Iterator[Any]:
        self._stream.codec_context.skip_frame = "DEFAULT"
        for packet in self._packets():
            yield from self._decode(packet)
        yield from self._decode(None)

    def _seek(self, first: int) -> tuple[Iterator[Any], int]:
        """Goes to a packet at or before number ``first``. Returns the packets from there, and its number."""
        packet_pts = self._table.packet_pts
        try:
            self._container.seek(int(packet_pts[first]), stream=self._stream)
        except (av.FFmpegError, OSError):
            landed = np.zeros(0, np.int64)
        else:
            packets = self._packets()
            head = next(packets, None)
            # Not every container keeps its promise: look which packet it is.
            landed = np.flatnonzero(packet_pts == (_NO_PTS if head is None else head.pts))
            if len(landed) == 1 and landed[0] <= first:
                return itertools.chain([head], packets), int(landed[0])
        self._rewind()
        return self._packets(), 0


class _Picture:
    """Receives decoded frames and keeps them as placed RGB pictures.

    Attributes:
        frames: (T, H, W, 3) uint8, made when the first frame tells the size.
    """

    frames: np.ndarray

    def __init__(self, count: int, placer: Placer) -> None:
        self._count = count
        self._placer = placer
        self._placement: Placement | None = None
        # A reformatter keeps the plan of its last conversion: one for each of the two steps.
        self._scaler, self._converter = VideoReformatter(), VideoReformatter()

    def put(self, frame: Any, slots: list[int]) -> None:
        """Writes a decoded frame into the given slots."""
        turns = frame.rotation // 90 % 4
        if self._placement is None:
            shown = (frame.width, frame.height) if turns % 2 else (frame.height, frame.width)
            self._placement = self._placer(*shown)
            shape = (self._count, self._placement.crop_height, self._placement.crop_width, 3)
            self.frames = np.empty(shape, np.uint8)
        place = self._placement
        height, width = (place.width, place.height) if turns % 2 else (place.height, place.width)
        picture = np.rot90(self._to_rgb(frame, height, width), k=turns)
        picture = picture[
            place.top : place.top + place.crop_height, place.left : place.left + place.crop_width
        ]
        if place.flip:
            picture = picture[:, ::-1]
        for slot in slots:
            self.frames[slot] = picture

    def _to_rgb(self, frame: Any, height: int, width: int) -> np.ndarray:
        """A view (H, W, 3) of the frame, scaled and converted."""
        if (frame.height, frame.width) != (height, width) and frame.format.name in _SCALED_AS_THEY_ARE:
            frame = self._scaler.reformat(frame, width, height, interpolation="BILINEAR", threads=1)
        frame = self._converter.reformat(
            frame, width, height, format="rgb24", interpolation="BILINEAR", threads=1
        )
        plane = frame.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height]
        return rows[:, : width * 3].reshape(height, width, 3)


def _key_packets(packet_pts: np.ndarray, is_key: np.ndarray, packet: np.ndarray) -> np.ndarray:
    """For the frames of the given packets, the packet that decoding must start from.

    That is the last key packet before it that is also shown before it: frames that come after a key
    frame but are shown earlier (open groups of pictures) refer to the group before.
    """
    keys = np.flatnonzero(is_key)
    if len(keys) == 0:
        return np.zeros_like(packet)
    group = np.searchsorted(keys, packet, side="right") - 1
    while True:
        leading = (group >= 0) & (packet_pts[keys[group]] > packet_pts[packet])
        if not leading.any():
            return np.where(group >= 0, keys[group], 0)
        group = group - leading


def _runs(table: _Table, wanted: np.ndarray) -> Iterator[tuple[int, int]]:
    """Stretches of packets (first, last) that together show the wanted frames, in stream order."""
    first, last = -1, -1
    for key, packet in zip(table.key_packet[wanted].tolist(), table.packet[wanted].tolist(), strict=True):
        if last >= 0 and key > last:
            yield first, last
            first = -1
        first = key if first < 0 else min(first, key)
        last = packet
    yield first, last


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
    if isinstance(error, av.InvalidDataError | av.EOFError | ValueError):
        return "not a video"
    return "unreadable"
