"""Checks of the rows of a list against their files: segments, repeats, conflicting labels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slowfast.datasets.text_files import parse_segment
from slowfast.preparation.lists import Entry

if TYPE_CHECKING:  # keeps `--help` fast
    from slowfast.preparation.file_work.probe import VideoFacts


@dataclass(frozen=True)
class RowProblem:
    """A row that is not valid, although its file is.

    Attributes:
        entry: the row.
        problem: short class: ``segment``, ``short``, ``duplicate`` or ``label conflict``.
        detail: description.
    """

    entry: Entry
    problem: str
    detail: str


def check_rows(
    entries: Sequence[Entry], facts: Mapping[str, VideoFacts], *, min_seconds: float
) -> list[RowProblem]:
    """Returns the rows of valid files that are not valid, in their order.

    Rows of equal content and segment are duplicates where they have one label, whatever the names of their
    files. With different labels they are a conflict, unless they name the same file.

    Args:
        facts: path -> properties of the file; equal content is found by their hashes, where they have any.
        min_seconds: least length of a segment.
    """
    found: list[RowProblem] = []
    # Content and segment -> label -> the first row.
    first: dict[tuple[str, tuple[float, float] | None], dict[str, Entry]] = {}
    for entry in entries:
        fact = facts[entry.path]
        if fact.problem:
            continue
        segment = parse_segment(entry.start, entry.end)
        if problem := _segment_problem(segment, fact, min_seconds) if entry.start else None:
            found.append(RowProblem(entry, *problem))
        elif fact.content_hash:
            by_label = first.setdefault((fact.content_hash, segment), {})
            if problem := _repeat_problem(entry, by_label):
                found.append(RowProblem(entry, *problem))
            else:
                by_label[entry.label] = entry
    return found


def _segment_problem(
    segment: tuple[float, float] | None, fact: VideoFacts, min_seconds: float
) -> tuple[str, str] | None:
    """Returns problem and detail of a segment that reading refuses, or that is too short."""
    if segment is None:
        return "segment", "start and end must be seconds, 0 <= start < end"
    start, end = segment
    if start >= fact.seconds:
        return "segment", f"starts at {start:g} s, but the video ends at {fact.seconds:.3f} s"
    seconds = min(end, fact.seconds) - start
    return ("short", f"a segment of {seconds:.2f} s") if seconds < min_seconds else None


def _repeat_problem(entry: Entry, by_label: Mapping[str, Entry]) -> tuple[str, str] | None:
    """Returns problem and detail of a row whose content and segment earlier rows have, too."""
    same = "content and segment" if entry.start else "content"
    if original := by_label.get(entry.label):
        if original.path == entry.path:
            return "duplicate", "an earlier row is the same"
        return "duplicate", f"same {same} as {original.path}"
    path = os.path.realpath(entry.path)
    for label, other in by_label.items():
        if os.path.realpath(other.path) != path:
            return "label conflict", (
                f"same {same} as {other.path}, which has the label {label}, not {entry.label}"
            )
    return None
