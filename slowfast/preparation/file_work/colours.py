"""Pixels and colour tags of copies: 4:2:0 of 8 bits in limited range, with the colour matrix of the source.

Readers convert frames by their tags: pixels of the source without its tags would change their colours.
"""

from __future__ import annotations

from typing import Any

from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

FORMAT = "yuv420p"

# Colour matrices (ITU-T H.273, table 4) that swscale knows. As in reading, BT.2020 with constant luminance is
# taken for BT.2020 with non-constant luminance, and others for unspecified.
_RGB, _UNSPECIFIED, _BT2020 = 0, 2, 9
_KNOWN = frozenset({_RGB, 1, _UNSPECIFIED, 4, 5, 6, 7, _BT2020})
_NEAREST = {10: _BT2020}
# Values of the tags of primaries and of the transfer function that have a meaning.
_PRIMARIES, _TRANSFERS = frozenset({1, *range(4, 13), 22}), frozenset({1, *range(4, 19)})


class ColourConverter:
    """Scales the frames of a video to one size, and gives all of them the colour tags of the first."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._matrix: int | None = None

    def scale(self, frame: Any, height: int, width: int) -> Any:
        """Returns a scaled 4:2:0 frame of limited range; the tag of the given frame may be replaced."""
        if frame.colorspace not in _KNOWN:
            frame.colorspace = _NEAREST.get(frame.colorspace, _UNSPECIFIED)
        if self._matrix is None:
            self._matrix = Colorspace.ITU601 if frame.colorspace == _RGB else frame.colorspace
        return self._reformatter.reformat(
            frame,
            width,
            height,
            format=FORMAT,
            interpolation="AREA",
            dst_colorspace=self._matrix,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )


def tag_stream(context: Any, frame: Any) -> None:
    """Gives an encoder that is not open yet the colour tags of its first frame."""
    context.colorspace, context.color_range = frame.colorspace, frame.color_range
    if frame.color_primaries in _PRIMARIES:
        context.color_primaries = frame.color_primaries
    if frame.color_trc in _TRANSFERS:
        context.color_trc = frame.color_trc
