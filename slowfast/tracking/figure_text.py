"""Texts of users in figures of matplotlib.

Matplotlib gives some characters a meaning of its own, and draws all in one font unless others are named.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from slowfast.log import get_logger, log_once

# Chinese, Japanese and Korean characters, which matplotlib's own font lacks, on Linux, macOS and Windows.
_FONTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "WenQuanYi Micro Hei"),
    *("Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic"),
)

logger = get_logger(__name__)


@contextmanager
def figure_fonts() -> Iterator[None]:
    """Lets figures that are made and drawn in the context have characters of all of ``_FONTS``.

    One line of the log names the characters that no font has; matplotlib would warn of each of them.
    """
    from matplotlib import font_manager, rc_context

    installed = {font.name for font in font_manager.fontManager.ttflist}
    families = ["sans-serif", *(name for name in _FONTS if name in installed)]
    with rc_context({"font.family": families}), warnings.catch_warnings(record=True) as found:
        warnings.filterwarnings("always", "Glyph ")
        yield
    missing = ""
    for warning in found:
        if glyph := re.match(r"Glyph (\d+) .*missing from", str(warning.message)):
            missing += chr(int(glyph[1]))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if missing:
        boxes = "".join(dict.fromkeys(missing))
        text = (
            f"the figure has boxes in place of {boxes}: install a font that has them, such as Noto Sans CJK"
        )
        log_once(logger, text, logging.WARNING)


def as_figure_text(text: str) -> str:
    """Returns a text, such as a name of a file, class or run, that matplotlib draws as it is written.

    A pair of ``$`` would be read as a formula, and fail where it is not a valid one. A label with a leading
    ``_`` would be left out of the legend; a blank precedes it. Bytes of file names that are not UTF-8 cannot
    be drawn; they become U+FFFD.

    >>> as_figure_text("$5_a$.mp4")
    '\\\\$5_a\\\\$.mp4'
    """
    drawable = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return (" " if drawable.startswith("_") else "") + drawable.replace("$", r"\$")
