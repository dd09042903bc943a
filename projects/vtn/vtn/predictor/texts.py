"""Texts that come from files, such as class names and file names, for pages, tables and messages."""

from __future__ import annotations

from collections.abc import Sequence

from slowfast.errors import DecodeError, NotFiniteError, first_line
from slowfast.log import is_safe


def safe_text(text: str) -> str:
    r"""Returns a text with a replacement in place of each character that is not safe to show.

    All others stay, such as the joiners that Persian, Hindi and emoji are written with.

    >>> safe_text("می\u200cروم prix\xa0fixe") == "می\u200cروم prix\xa0fixe", safe_text("a\x1b[2J\u202eb")
    (True, 'a�[2J�b')
    """
    return "".join(c if is_safe(c) else "\N{REPLACEMENT CHARACTER}" for c in text)


def safe_names(names: Sequence[str], num_classes: int) -> list[str]:
    """Returns class names by :func:`safe_text`; numbers where there are not K names."""
    if len(names) != num_classes:
        return [str(number) for number in range(num_classes)]
    return [safe_text(name) for name in names]


def describe_failure(error: BaseException, name: str) -> str:
    """Returns the reason of a failure in one line, without the name of the video before it."""
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    video = error.path if isinstance(error, DecodeError) else name
    return first_line(str(error).removeprefix(f"{video}: ") or error)


def failure_reason(error: BaseException) -> str:
    """Returns the category of a failure, by which programs decide whether to try a video again.

    That of ``slowfast.errors.DecodeError``, such as ``missing``, ``not a video`` or ``corrupt``; ``missing``,
    ``not permitted`` or ``unreadable`` for other errors of files, and ``memory``; ``not finite`` for scores
    that are NaN or infinite; ``input`` for what is not a video's path, file or frames.
    """
    if isinstance(error, DecodeError):
        return error.reason
    if isinstance(error, NotFiniteError):
        return "not finite"
    if isinstance(error, OSError | MemoryError):
        # Not needed by the server's process, which imports this module for the names of files.
        from slowfast.video.container import reason_of

        return reason_of(error)
    return "input"
