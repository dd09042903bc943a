"""Texts that come from files, such as class names and file names, for terminals and messages."""

from __future__ import annotations

from collections.abc import Sequence

import av

from slowfast.errors import DecodeError, first_line


def printable_names(names: Sequence[str], num_classes: int) -> list[str]:
    """Returns class names without characters that change a terminal; numbers where there are not K names."""
    if len(names) != num_classes:
        return [str(number) for number in range(num_classes)]
    return ["".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name) for name in names]


def printable(text: str) -> str:
    """Returns a text of several lines with escapes in place of characters that change a terminal.

    >>> printable("clips/\\x1b[2J.mp4")
    'clips/\\\\x1b[2J.mp4'
    """
    lines = text.split("\n")
    return "\n".join("".join(c if c.isprintable() else _escape(c) for c in line) for line in lines)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def describe_failure(error: BaseException, name: str) -> str:
    """Returns the reason of a failure in one line, without the name of the video before it."""
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    cause = error.__cause__
    if isinstance(error, DecodeError) and isinstance(cause, av.FFmpegError):
        message = cause.strerror or ""
        if message and message in error.detail:  # without FFmpeg's number of the error, and the file again
            found = [message, *(part.strip() for part in (cause.log or ())[2:])]
            return f"{error.reason} ({'; '.join(found)})"
    return first_line(error).removeprefix(f"{name}: ")
