"""One file of the corpus, and what it may give."""

from __future__ import annotations

from dataclasses import dataclass

FRAMES = 40
SIZE = (64, 96)
NOT_A_VIDEO = frozenset({"not a video"})
NO_FRAMES = NOT_A_VIDEO | {"no video stream", "no decoder", "no frames", "corrupt", "memory"}


@dataclass(frozen=True)
class Case:
    """One file and the accepted results of reading it.

    Attributes:
        frames: the file must show the stamps 0 … frames − 1; None: any frames are accepted.
        at_least: the file must show at least this many of its first frames, in order.
        reasons: classes of errors that are accepted as well; empty: an error is wrong.
    """

    path: str
    frames: int | None = None
    at_least: int | None = None
    reasons: frozenset[str] = frozenset()
