"""The windows of a video whose scores an explanation or an overview shows, where the user names none."""

from __future__ import annotations

from vtn.inference.features import VideoFeatures

WINDOWS_PER_VIDEO = 10
_MIN_FRAMES = 4  # of a window


def choose_windows(
    features: VideoFeatures, window_seconds: float | None = None, stride_seconds: float | None = None
) -> tuple[float, float]:
    """Returns the length of the windows and the time from one start to the next, in seconds.

    Args:
        window_seconds: as the user has chosen; None: a tenth of the video, at least four frames.
        stride_seconds: as the user has chosen; None: a quarter of the window, at least a frame.
    """
    num_frames = len(features.features)
    spacing = features.duration / num_frames
    frames = max(_MIN_FRAMES, num_frames / WINDOWS_PER_VIDEO)
    window = window_seconds or min(frames * spacing, features.duration)
    return window, stride_seconds or max(spacing, window / 4)
