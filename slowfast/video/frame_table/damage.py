"""Findings on a whole file: whether it holds what its header announces, and whether all of it can be decoded.

P packets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np

from slowfast.video.frame_table.packet_facts import NO_PTS

if TYPE_CHECKING:
    from slowfast.video.packets import PacketSource

# Containers round; less than this, in seconds and as a fraction, is not missing.
_MISSING_SECONDS, _MISSING_FRACTION = 0.5, 0.05
# Containers whose header counts the packets that the file holds, hidden ones included.
_COUNTING = frozenset({"mov", "avi"})
# Containers without a duration in the header; FFmpeg makes one up from timestamps or the size of the file.
_WITHOUT_DURATION = frozenset({"mpegts", "mpeg", "mpegvideo", "m4v", "h264", "hevc", "vvc", "vc1", "image2"})


def describe_missing(source: PacketSource) -> str:
    """Returns what the header announces and the file lacks; empty if nothing is missing.

    All stored packets count, also those of frames that an edit list hides, as in a part of a video that
    was copied from between key frames on, and those of frames that cannot be decoded for the same reason.
    """
    packets = source.table.packets
    stored, announced = len(packets.pts), source.stream.frames
    # The end of the last packet, on the clock that the announced duration is on.
    times = np.concatenate([packets.pts, packets.dts])
    known = times != NO_PTS
    end = int((times + np.tile(packets.durations, 2))[known].max()) if known.any() else 0
    if "avi" in source.formats:
        stored = end  # the header counts ticks, with those in which no new frame is shown
    if source.formats & _COUNTING and announced > stored * (1 + _MISSING_FRACTION) + 1:
        return f"{stored} of {announced} frames are present"
    announced_seconds = source.announced_seconds
    if source.formats & _WITHOUT_DURATION or not known.any() or announced_seconds is None:
        return ""
    present = max(end, end - int(times[known].min())) * float(source.stream.time_base)
    if announced_seconds - present > max(_MISSING_SECONDS, _MISSING_FRACTION * announced_seconds):
        return f"{present:.2f} of {announced_seconds:.2f} s are present"
    return ""


def describe_damage(source: PacketSource) -> str:
    """Decodes all frames; returns what went wrong, errors that the decoder conceals included.

    Errors before the first shown frame do not count: the frames before it are not in the table. Before it, a
    message on a reference that cannot be released does not count either: where a recording is cut at a key
    frame of an open group, that reference is in the part before the cut.
    """
    frames = source.table.times.num_frames
    begins_late = source.table.undecodable_head > 0 or not source.table.packets.is_shown[0]
    decoded = concealed = 0
    av.logging.set_level(av.logging.ERROR)
    skips_repeated = av.logging.get_skip_repeated()
    av.logging.set_skip_repeated(False)  # else an error is hidden where the last file had it as well
    source.refused_packets = 0
    try:
        with av.logging.Capture() as messages:
            for frame in source.decode_all():
                if decoded == 0 and begins_late:
                    messages.clear()
                    source.refused_packets = 0
                elif decoded == 0:
                    messages[:] = [message for message in messages if not message[2].startswith("mmco:")]
                decoded += 1
                concealed += frame.is_corrupt
    finally:
        av.logging.set_skip_repeated(skips_repeated)
        av.logging.set_level(None)
    errors = [text.strip() for _, _, text in messages]
    if source.refused_packets or concealed or decoded < frames:
        refused = source.refused_packets
        return (
            f"{decoded} of {frames} frames decoded, {refused} packets refused, {concealed} frames concealed"
        )
    return f"{len(errors)} errors logged by the decoder: {errors[0]}" if errors else ""
