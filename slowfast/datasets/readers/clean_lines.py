"""Chunks of clean lines of a list, read by NumPy: all lines at once instead of one by one.

A clean line has one separator between two columns, no padding and no quotes, and its numbers are digits. Any
other line makes a function raise :class:`NotCleanError`, and the caller reads the chunk by the grammar of
:mod:`slowfast.datasets.video_list`. For clean lines the two give the same rows.

n videos, m labels, c columns after the path.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from slowfast.datasets.video_list import END, GROUP, LABEL, START, ListFormat

_TAB, _NEWLINE, _RETURN = 9, 10, 13
# Digits of the largest class index, and characters of the longest time or unused cell, that are read here.
_MAX_DIGITS, _MAX_CHARACTERS = 9, 32


def _byte_set(characters: bytes) -> NDArray[np.bool_]:
    """Returns the (256,) table of the bytes that are in a set."""
    return np.isin(np.arange(256), np.frombuffer(characters, np.uint8))


_BLANK = _byte_set(b" \t\n\r\v\f")
# Padding, quotes and a second separator at the edge of a path.
_PATH_EDGE = _BLANK | _byte_set(b"\"',;")
_DIGIT = _byte_set(b"0123456789")
_NUMBER = _byte_set(b"0123456789.\0")
_UNUSED = _byte_set(bytes(range(0x21, 0x7F)) + b"\0") & ~_byte_set(b'"')
_JOINT = _byte_set(b",;")


class NotCleanError(Exception):
    """A chunk with a line that is not clean."""


def _refuse(is_unclean: np.bool_ | bool) -> None:
    if is_unclean:
        raise NotCleanError


class RowArrays(NamedTuple):
    """The rows of a chunk.

    Attributes:
        starts, lengths: (n,) int64 and int32, of the paths in the text of the file.
        labels: (m,) int32.
        counts: (n,) int64, labels per video.
        segments: (n, 2) float64, in seconds; (0, 2) for full files.
        groups: (n, 2) int64, starts and lengths of the groups in the text; (0, 2) without such a column.
    """

    starts: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    segments: np.ndarray
    groups: np.ndarray


def read_clean(chunk: NDArray[np.uint8], form: ListFormat, num_classes: int, multi_label: bool) -> RowArrays:
    """Reads a chunk of clean lines; returns their rows, all starts counted from the chunk.

    Args:
        chunk: (bytes,) uint8, whole lines.
        form: of the lines.
        num_classes: K; labels are integers in [0, K).
        multi_label: a label may be a list.

    Raises:
        NotCleanError: where a line is not clean.
    """
    starts, ends = _find_lines(chunk)
    # The grammar removes blanks after each tab, also within a path.
    _refuse(form.separator == "\t" and (_BLANK[chunk[1:]] & (chunk[:-1] == _TAB)).any())
    bounds = _cut_columns(chunk, form, starts, ends)
    cuts = bounds[0]
    first, second = chunk[starts], chunk[starts + 1]
    _refuse(_PATH_EDGE[first].any() or _PATH_EDGE[chunk[cuts - 1]].any())
    # Comments, and lines with the label first, are refused by the grammar.
    _refuse(((first == ord("#")) | ((first == ord("/")) & (second == ord("/")))).any() or not chunk.all())

    groups, times = np.zeros((0, 2), np.int64), {}
    for column, (before, after) in zip(form.columns, pairwise(bounds), strict=True):
        cells = chunk, before + 1, after
        if column == LABEL:
            labels, counts = _read_labels(*cells, multi_label)
        elif column in (START, END):
            times[column] = _read_decimals(*cells)
        else:
            _refuse(not _UNUSED[_gather(*cells)].all())
            if column == GROUP:
                groups = np.stack([before + 1, after - before - 1], axis=1)
    # The grammar takes start and end by their names, too.
    segments = np.stack([times[START], times[END]], axis=1) if times else np.zeros((0, 2))
    _refuse(not (segments[:, 0] < segments[:, 1]).all() or (labels >= num_classes).any())
    lengths = (cuts - starts).astype(np.int32)
    return RowArrays(starts, lengths, labels.astype(np.int32), counts, segments, groups)


def _find_lines(chunk: NDArray[np.uint8]) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the lines that are not empty begin and end, (n,) int64 each, without line ends."""
    ends = np.flatnonzero(chunk == _NEWLINE)
    if len(chunk) and chunk[-1] != _NEWLINE:
        ends = np.append(ends, len(chunk))
    starts = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
    ends = ends - ((ends > starts) & (chunk[ends - 1] == _RETURN))
    filled = ends > starts
    return (starts, ends) if filled.all() else (starts[filled], ends[filled])


def _cut_columns(
    chunk: NDArray[np.uint8], form: ListFormat, starts: np.ndarray, ends: np.ndarray
) -> list[np.ndarray]:
    """Returns the positions of the last c separators of each line, and its end: c + 1 arrays, (n,) int64.

    No line may have fewer separators, or an empty cell.
    """
    count = len(form.columns)
    separators = np.flatnonzero(chunk == ord(form.separator))
    before_end = np.searchsorted(separators, ends)
    _refuse((before_end < count).any())
    bounds = [separators[before_end - place] for place in range(count, 0, -1)]
    _refuse((bounds[0] <= starts).any())
    # Tabs that align columns: the grammar reads them as one.
    _refuse(form.separator == "\t" and _BLANK[chunk[(separators + 1).clip(max=len(chunk) - 1)]].any())
    bounds.append(ends)
    _refuse(any((after - before < 2).any() for before, after in pairwise(bounds)))
    return bounds


def _read_labels(
    chunk: NDArray[np.uint8], starts: np.ndarray, ends: np.ndarray, multi_label: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the labels of cells such as ``3,17``, (m,) int64, and their number per cell, (n,) int64."""
    if not multi_label:
        return _read_integers(chunk, starts, ends), np.ones(len(starts), np.int64)
    joints = np.flatnonzero(_JOINT[chunk])
    # Joints outside the cells belong to paths.
    first, last = np.searchsorted(joints, starts), np.searchsorted(joints, ends)
    size = len(joints) + 1
    opened = np.cumsum(np.bincount(first, minlength=size) - np.bincount(last, minlength=size))
    joints = joints[opened[:-1] > 0]
    first_digits = np.sort(np.concatenate([starts, joints + 1]))
    return _read_integers(chunk, first_digits, np.sort(np.concatenate([ends, joints]))), last - first + 1


def _read_integers(chunk: NDArray[np.uint8], starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Returns the integers at ``chunk[start:end]``, int64; each must be all digits."""
    lengths = ends - starts
    longest = int(lengths.max(initial=1))
    _refuse(lengths.min(initial=1) < 1 or longest > _MAX_DIGITS)
    values = np.zeros(len(starts), np.int64)
    for place in range(longest):
        rows = lengths > place
        characters = chunk[starts[rows] + place]
        _refuse(not _DIGIT[characters].all())
        values[rows] = values[rows] * 10 + (characters.astype(np.int64) - ord("0"))
    return values


def _read_decimals(chunk: NDArray[np.uint8], starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Returns the numbers at ``chunk[start:end]``, (n,) float64, as ``float`` rounds them.

    Each must be written as digits with at most one point.
    """
    characters = _gather(chunk, starts, ends)
    _refuse(not _NUMBER[characters].all() or not _DIGIT[characters[:, 0]].all())
    _refuse(((characters == ord(".")).sum(axis=1) > 1).any())
    return np.ascontiguousarray(characters).view(f"S{characters.shape[1]}")[:, 0].astype(np.float64)


def _gather(chunk: NDArray[np.uint8], starts: np.ndarray, ends: np.ndarray) -> NDArray[np.uint8]:
    """Returns the bytes at ``chunk[start:end]`` as (n, longest) uint8, padded with zeros.

    None may be longer than 32.
    """
    lengths = ends - starts
    longest = int(lengths.max(initial=1))
    _refuse(longest > _MAX_CHARACTERS)
    offsets = starts[:, None] + np.arange(longest)
    characters = chunk[offsets.clip(max=len(chunk) - 1)]
    inside = np.arange(longest) < lengths[:, None]
    # A zero byte of the text would look like padding.
    _refuse((inside & (characters == 0)).any())
    return characters * inside
