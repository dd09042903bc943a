"""Frames of a source without an end, such as a camera, as they come.

t frames of a push, H W pixels.
"""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import av
import numpy as np

from slowfast.errors import DecodeError
from slowfast.log import get_logger
from slowfast.video.container import (
    Address,
    choose_video_stream,
    is_end,
    open_container,
    open_error_text,
    reason_of,
    without_secrets,
)
from slowfast.video.frame_scaler import FrameScaler
from slowfast.video.placement import Placer
from vtn.predictor.live.connection import REMEDY, Outage, StreamClock
from vtn.predictor.videos import ADDRESS_HINT, is_address, is_camera, is_endless, is_unknown_address

# FFmpeg's name of the cameras of a system, the name of camera N there, and options: most cameras of Macs
# refuse the 29.97 frames per second that FFmpeg asks for by default.
_CAMERAS: dict[str, tuple[str, str, dict[str, str]]] = {
    "linux": ("v4l2", "/dev/video{}", {}),
    "darwin": ("avfoundation", "{}", {"framerate": "30"}),
}
# Seconds between two looks for a frame, and most looks in a row; cameras of macOS do not wait for a frame.
_PAUSE_SECONDS, _MOST_PAUSES = 0.005, 6000
# Playlists are not followed, and SRT is not part of every FFmpeg.
_RELAY = (
    "`ffmpeg -re -i ADDRESS -c copy -f mpegts udp://127.0.0.1:5000` passes it on; follow udp://127.0.0.1:5000"
)
# Pushes that may wait for the model; frames of a camera that come meanwhile are dropped.
_MOST_WAITING = 2
# Packets in a row that may give no frame, 40 seconds of 25 per second: after a loss some decoders need the
# next key frame, which cameras may send seldom.
_MOST_WITHOUT_FRAME = 1000
# Seconds by which the packets of a recording may end earlier or later than its header says.
_TOLERATED_SECONDS = 2.0

logger = get_logger(__name__)


class LiveFrames:
    """The frames of a camera, an address or a file in pushes of equal duration, thinned to a frame rate.

    Frames of a camera or a stream without an end that come faster than they are taken are dropped, so that
    the newest ones are never far behind. Packets that cannot be decoded are left out. A stream of the network
    that is lost is connected again, and the time without it counts. Where the timestamps restart, as after a
    restart of the camera, time continues; where they jump forward, that much time has passed, as in a pause
    of the source.

    Args:
        place: number of a camera, an address, or the path of a file.
        placer: scaling and crop of the frames.
        fps: largest number of frames per second.
        seconds: duration of a push.

    Attributes:
        num_taken: pushes that the model has encoded, counted by the caller.
        num_dropped: pushes that were dropped.
        num_refused: packets that could not be decoded.
    """

    def __init__(self, place: str, placer: Placer, *, fps: float, seconds: float) -> None:
        self.num_dropped = self.num_refused = 0
        self._place = place
        self._name = without_secrets(place)
        self._placer = placer
        self._fps = fps
        self._seconds = seconds
        self._may_drop = is_endless(place)
        self._may_reconnect = False
        self._num_made = self.num_taken = 0
        self._end = 0.0  # seconds: of the packets of a connection

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields frames (t, H, W, 3) uint8 RGB, and their times (t,) in seconds from the first frame.

        Raises:
            DecodeError: for a source that cannot be opened or read, or not be decoded any more.
        """
        images: list[np.ndarray] = []
        times: list[float] = []
        lost: DecodeError | None = None
        try:
            for seconds, image in self._thinned_frames():
                if times and seconds - times[0] >= self._seconds - 1e-6:
                    yield from self._push(images, times)
                    images, times = [], []
                images.append(image)
                times.append(seconds)
        except DecodeError as error:
            lost = error  # once the frames before it are taken, too
        if times:
            yield from self._push(images, times)
        if lost is not None:
            raise lost
        if self._may_drop:
            logger.warning("%s: the source has ended", self._name)

    def _push(self, images: list[np.ndarray], times: list[float]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if self._may_drop and self._num_made - self.num_taken >= _MOST_WAITING:
            self.num_dropped += 1
            if self.num_dropped == 1:
                text = "%s: frames come faster than the model takes them; some are left out"
                logger.warning(text, self._name)
            return
        self._num_made += 1
        yield np.stack(images), np.array(times)

    def _thinned_frames(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yields (seconds, frame (H, W, 3)) of the frames that are due at the frame rate."""
        scaler = FrameScaler(1, self._placer, self._name)
        last, due, period = -1.0, 0.0, 1 / self._fps
        for seconds, frame in self._connected():
            if seconds <= last or seconds < due - 1e-3:  # containers round to milliseconds
                continue
            # After a pause the periods are counted from the frame that ended it.
            last, due = seconds, due + period if seconds < due + period else seconds + period
            yield seconds, scaler.view(frame).copy()

    def _connected(self) -> Iterator[tuple[float, Any]]:
        """Yields (seconds, frame) of all frames, also after a stream of the network was lost."""
        clock, outage = StreamClock(self._name), Outage(self._name)
        while True:
            clock.open()
            announced = 0.0
            try:
                with closing(self._open()) as container:
                    announced = (container.duration or 0) / av.time_base
                    stream = choose_video_stream(container, self._name)
                    if stream is None:
                        raise DecodeError(self._name, "no video stream")
                    clock.connect(1 / float(stream.average_rate or stream.guessed_rate or 25))
                    for frame in self._decoded(container, stream):
                        seconds = clock.seconds(frame.time)
                        outage.end(seconds)
                        yield seconds, frame
                if not self._may_reconnect:
                    return
                if self._is_of_recording(announced):
                    self._refuse_cut(announced)
                    return
                lost = DecodeError(self._name, "unreadable", f"the connection was closed; {REMEDY}")
            except DecodeError as error:
                # A server would send a recording from its start again.
                if not self._may_reconnect or self._is_of_recording(announced):
                    raise
                lost = error
            if clock.is_of_recording:
                return
            outage.wait(lost)

    def _is_of_recording(self, announced: float) -> bool:
        """Returns whether the packets belong to a recording whose header says when it ends; 0: it does not.

        Of a stream without an end the header may state the duration of the first part, which is passed soon.
        """
        return announced > 0 and self._end <= announced + _TOLERATED_SECONDS

    def _refuse_cut(self, announced: float) -> None:
        """Raises ``DecodeError`` where the packets end before the second that the header states."""
        if self._end + _TOLERATED_SECONDS < announced:
            detail = f"the connection was lost at {self._end:.1f} s of {announced:.1f} s; {REMEDY}"
            raise DecodeError(self._name, "truncated", detail)

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """Yields the frames of all packets that can be decoded."""
        decoded, without_frame, self._end = False, 0, 0.0
        # Of a stream that can be connected again also those of its sound, which may continue alone.
        streams = container.streams if self._may_reconnect else [stream]
        for packet in self._packets(container, streams):
            self._end = max(self._end, _end_of(packet))
            frames = self._decode(packet) if packet.stream.index == stream.index else []
            without_frame = 0 if frames else without_frame + 1
            if without_frame == _MOST_WITHOUT_FRAME * len(streams):
                problem = f"{without_frame} packets in a row give no frame"
                raise DecodeError(self._name, "corrupt", f"{problem}; {REMEDY}")
            for frame in frames:
                decoded = True
                yield frame
        if not decoded:
            found = "none of its frames can be decoded" if self.num_refused else "nothing came"
            raise DecodeError(
                self._name, "corrupt" if self.num_refused else "no frames", f"{found}; {REMEDY}"
            )

    def _packets(self, container: Any, streams: Sequence[Any]) -> Iterator[Any]:
        pauses = 0
        try:
            while pauses < _MOST_PAUSES:
                try:
                    with closing(container.demux(*streams)) as packets:
                        for packet in packets:
                            pauses = 0
                            yield packet
                            if is_end(packet) and packet.stream.index == streams[-1].index:
                                return
                    return
                except av.BlockingIOError:
                    pauses += 1
                    time.sleep(_PAUSE_SECONDS)
        except (av.FFmpegError, OSError) as error:
            # FFmpeg 9 reports the end of a transfer that states no length as such an error.
            if self._may_reconnect and error.errno == errno.EIO:
                return
            raise DecodeError(self._name, "unreadable", f"{open_error_text(error)}; {REMEDY}") from error
        detail = f"nothing came; {REMEDY}"
        if is_camera(self._place):
            detail = "the camera gives none; allow the terminal to use it in the settings of the system"
        raise DecodeError(self._name, "no frames", detail)

    def _decode(self, packet: Any) -> list[Any]:
        """Returns the frames that a packet releases; none where the decoder refuses it."""
        try:
            try:
                return list(packet.decode())
            except av.BlockingIOError:
                # After an error, some decoders (VP9) refuse all packets until they are reset.
                packet.stream.codec_context.flush_buffers()
                return list(packet.decode())
        except av.EOFError:
            return []
        except (av.FFmpegError, OSError) as error:
            self.num_refused += 1
            if self.num_refused == 1:
                text = open_error_text(error)
                logger.warning("%s: a packet cannot be decoded (%s) and is left out", self._name, text)
            return []

    def _open(self) -> Any:
        try:
            if is_camera(self._place):
                return _open_camera(self._place)
            if not is_address(self._place):
                return open_container(self._place)
            container = open_container(Address(self._place))
        except (av.FFmpegError, OSError, ValueError) as error:
            hint = f"; {ADDRESS_HINT}" if is_unknown_address(self._place) else ""
            if isinstance(error, av.ProtocolNotFoundError) or "whitelist" in str(error):
                hint = f"; {_RELAY}" if is_address(self._place) else hint
            raise DecodeError(self._name, reason_of(error), open_error_text(error) + hint) from error
        if (container.size or -1) < 0:  # not a file, also at an http address; None from PyAV 19 on
            self._may_drop = self._may_reconnect = True
        return container


def _end_of(packet: Any) -> float:
    """Returns the second at which a packet ends; 0 without a timestamp."""
    return 0.0 if packet.pts is None else float((packet.pts + (packet.duration or 0)) * packet.time_base)


def _open_camera(number: str) -> Any:
    if sys.platform not in _CAMERAS:
        raise DecodeError(number, "no camera", f"cameras have no numbers on {sys.platform}; give an address")
    kind, name, options = _CAMERAS[sys.platform]
    device = name.format(number)
    try:
        return av.open(device, format=kind, options=options)
    except (av.FFmpegError, OSError) as error:
        text = f"camera {device}: {open_error_text(error)}"
        raise DecodeError(number, reason_of(error), text) from error
