"""Texts of users in figures of matplotlib, which gives some characters a meaning of its own."""

from __future__ import annotations


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
