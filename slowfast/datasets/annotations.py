"""Annotation files: which videos there are and what they show.

N videos, K classes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slowfast.errors import AnnotationError

# Lines are parsed by chunks of about this many bytes, so that intermediate arrays stay small.
_CHUNK_BYTES = 1 << 25
# Paths that are digested at once.
_DIGEST_ROWS = 1 << 16
_NEWLINE, _RETURN, _SPACE = 10, 13, 32


class PathTable(Sequence[str]):
    """Paths as one block of bytes and its cuts, in memory that worker processes share.

    A list of Python strings would be copied into each worker little by little, as their reference
    counts are touched; tensors in shared memory are not.

    Args:
        text: (bytes,) uint8, all paths, anything between them.
        starts, lengths: (N,) int64 and int32, where each path lies in ``text``.
        prefix: folder put in front of relative paths.
    """

    def __init__(self, text: Tensor, starts: Tensor, lengths: Tensor, prefix: str = "") -> None:
        self._text, self._starts, self._lengths = (t.share_memory_() for t in (text, starts, lengths))
        self._prefix = prefix

    @classmethod
    def from_strings(cls, paths: Sequence[str], prefix: str = "") -> PathTable:
        encoded = [os.fsencode(path) for path in paths]
        lengths = np.array([len(path) for path in encoded], np.int32)
        starts = np.concatenate([[0], np.cumsum(lengths[:-1], dtype=np.int64)])[: len(lengths)]
        text = np.frombuffer(bytearray(b"".join(encoded)), np.uint8)
        return cls(torch.from_numpy(text), torch.from_numpy(starts), torch.from_numpy(lengths), prefix)

    @property
    def prefix(self) -> str:
        """The folder in front of relative paths; empty: none."""
        return self._prefix

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        start = int(self._starts[index])
        path = self._text[start : start + int(self._lengths[index])].numpy().tobytes()
        return os.path.join(self._prefix, os.fsdecode(path))

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    def digest(self) -> bytes:
        """SHA-256 of all paths in their order; a few seconds for ten million."""
        text, starts, lengths = self._text.numpy(), self._starts.numpy(), self._lengths.numpy()
        digest = hashlib.sha256(os.fsencode(self._prefix) + b"\0" + lengths.tobytes())
        for first in range(0, len(self), _DIGEST_ROWS):
            size = lengths[first : first + _DIGEST_ROWS].astype(np.int64)
            before = np.cumsum(size) - size
            places = np.repeat(starts[first : first + _DIGEST_ROWS] - before, size) + np.arange(size.sum())
            digest.update(text[places])
        return digest.digest()


@dataclass(frozen=True)
class Annotations:
    """The videos of one split.

    Attributes:
        paths: N paths.
        label_values: (M,) int32, the labels of all videos one after another.
        label_starts: (N + 1,) int64, video i has the labels from ``label_starts[i]`` up to
            ``label_starts[i + 1]``; None where each video has exactly one.
        num_classes: K.
        segments: (N, 2) float64, start and end in seconds of the part of each file that is the video; None
            where whole files are.
        image_fps: the paths are folders of images, so many a second; None: they are video files.
        features: the paths are files of features.
    """

    paths: PathTable
    label_values: Tensor
    label_starts: Tensor | None
    num_classes: int
    segments: Tensor | None = None
    image_fps: float | None = None
    features: bool = False

    def __post_init__(self) -> None:
        for part in (self.label_values, self.label_starts, self.segments):
            if part is not None:
                part.share_memory_()

    def __len__(self) -> int:
        return len(self.paths)

    def label(self, video_id: int) -> int | Tensor:
        """The class index, or (K,) float32 of ones and zeros where videos have several labels."""
        if self.label_starts is None:
            return int(self.label_values[video_id])
        start, end = self.label_starts[video_id : video_id + 2].tolist()
        hot = torch.zeros(self.num_classes)
        hot[self.label_values[start:end].long()] = 1.0
        return hot

    def segment(self, video_id: int) -> tuple[float, float] | None:
        """Start and end of the video in its file, in seconds; None: all of the file."""
        if self.segments is None:
            return None
        start, end = self.segments[video_id].tolist()
        return start, end

    def labels(self) -> np.ndarray:
        """All labels: (N,) int32, or (N, K) float32."""
        if self.label_starts is None:
            return self.label_values.numpy()
        hot = np.zeros((len(self), self.num_classes), np.float32)
        rows = np.repeat(np.arange(len(self)), np.diff(self.label_starts.numpy()))
        hot[rows, self.label_values.numpy()] = 1.0
        return hot


def read_csv(
    path: str,
    *,
    num_classes: int,
    separator: str = " ",
    prefix: str = "",
    multi_label: bool = False,
) -> Annotations:
    """Reads lines of ``path<separator>label``.

    The last separator of a line counts, so that paths may contain it. Blank lines are skipped. A first line
    ``path<separator>label<separator>start<separator>end`` announces two more columns, the seconds between
    which the file shows the video; ``path<separator>label`` may stand there, too.

    Args:
        path: the file.
        num_classes: K; labels are integers in [0, K).
        separator: one character.
        prefix: put in front of relative paths.
        multi_label: a label is a list such as ``3,17`` (``3;17`` where the separator is a comma).

    Raises:
        AnnotationError: for a missing or empty file and for the first line that cannot be read.
    """
    if len(separator.encode()) != 1:
        raise AnnotationError(f"{path}: the separator must be one ASCII character, not {separator!r}")
    try:
        shared = _read_shared(path)
    except OSError as error:
        raise AnnotationError(
            f"{path}: cannot be read ({error.strerror}); check DATA.PATH_TO_DATA_DIR"
        ) from error
    text = shared.numpy()
    _end_lines(text)
    joint = (";" if separator == "," else ",") if multi_label else None
    body, has_segments = _read_header(text, separator)
    columns = _CsvColumns(
        path, text, ord(separator), ord(joint) if joint else None, num_classes, has_segments
    )
    chunks = [columns.parse(start, end, line) for start, end, line in _chunks(text, body)]
    starts, lengths, values, counts, segments = (
        np.concatenate([chunk[i] for chunk in chunks]) if chunks else np.zeros(0, np.int64) for i in range(5)
    )
    if len(starts) == 0:
        raise AnnotationError(f"{path}: holds no video; each line is a path, {separator!r} and a label")
    label_starts = None
    if multi_label:
        label_starts = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]))
    table = PathTable(shared, torch.from_numpy(starts), torch.from_numpy(lengths), prefix)
    shown = torch.from_numpy(segments) if has_segments else None
    return Annotations(table, torch.from_numpy(values), label_starts, num_classes, shown)


def _read_shared(path: str) -> Tensor:
    """The bytes of a file, (bytes,) uint8, in memory where they can stay: a copy would raise the peak."""
    with open(path, "rb") as file:
        text = torch.empty(os.fstat(file.fileno()).st_size, dtype=torch.uint8).share_memory_()
        return text[: file.readinto(text.numpy())]


def _end_lines(text: np.ndarray) -> None:
    """Makes newlines, in place, of carriage returns that end lines alone, as some spreadsheets write them."""
    starts = range(0, len(text), _CHUNK_BYTES)
    if not any((text[start : start + _CHUNK_BYTES] == _NEWLINE).any() for start in starts):
        text[text == _RETURN] = _NEWLINE


def _read_header(text: np.ndarray, separator: str) -> tuple[int, bool]:
    """Returns where the lines after a header begin (0: there is none), and whether it announces segments."""
    line = bytes(text[:64]).partition(b"\n")[0]
    names = line.decode("utf-8-sig", errors="replace").strip().split(separator)
    if names not in (["path", "label"], ["path", "label", "start", "end"]):
        return 0, False
    return min(len(line) + 1, len(text)), len(names) == 4


def _chunks(text: np.ndarray, start: int) -> Iterator[tuple[int, int, int]]:
    """Cuts the text from ``start`` on after line ends: (start, end, number of the first line, from 1)."""
    line = 2 if start else 1
    while start < len(text):
        end = min(start + _CHUNK_BYTES, len(text))
        if end < len(text):
            rest = text[end:]
            # The rest of the line that the cut would split; lines are short, so look a little ahead first.
            ahead = np.flatnonzero(rest[:65536] == _NEWLINE)
            if len(ahead) == 0:
                ahead = np.flatnonzero(rest == _NEWLINE)
            end = end + int(ahead[0]) + 1 if len(ahead) else len(text)
        yield start, end, line
        line += int(np.count_nonzero(text[start:end] == _NEWLINE))
        start = end


@dataclass(frozen=True)
class _CsvColumns:
    """Finds paths and labels in the bytes of a csv, all lines of a chunk at once."""

    path: str
    text: np.ndarray
    separator: int
    joint: int | None
    num_classes: int
    has_segments: bool

    def parse(self, start: int, end: int, line: int) -> tuple[np.ndarray, ...]:
        """Returns path starts (n,) int64, path lengths (n,) int32, labels (m,) int32, labels a video (n,),
        and segments (n, 2) float64 or nothing (0, 2)."""
        chunk = self.text[start:end]
        breaks = np.flatnonzero(chunk == _NEWLINE)
        lines_start = np.concatenate([[0], breaks + 1])
        lines_end = np.concatenate([breaks, [len(chunk)]])
        lines_start, lines_end = self._strip(chunk, lines_start, lines_end)
        filled = lines_end > lines_start
        numbers = np.flatnonzero(filled) + line
        lines_start, lines_end = lines_start[filled], lines_end[filled]
        if len(lines_start) == 0:
            empty = np.zeros(0, np.int64)
            return empty, empty.astype(np.int32), empty.astype(np.int32), empty, np.zeros((0, 2))

        after = 3 if self.has_segments else 1  # columns after the path
        cuts = np.concatenate([[-1] * after, np.flatnonzero(chunk == self.separator)])
        last = np.searchsorted(cuts, lines_end, side="left") - 1
        cut = cuts[last - (after - 1)]
        what = "a path, a label, a start and an end" if self.has_segments else "a path and a label"
        self._refuse(cut <= lines_start, numbers, chunk, lines_start, lines_end, f"is not {what}")
        label_end, segments = lines_end, np.zeros((0, 2))
        if self.has_segments:
            label_end = cuts[last - 1]
            segments = _parse_segments(chunk, label_end, cuts[last], lines_end)
            what = "has a wrong segment: start and end are seconds, 0 <= start < end"
            self._refuse(np.isnan(segments[:, 0]), numbers, chunk, lines_start, lines_end, what)

        token_start, token_end = cut + 1, label_end
        counts = np.ones(len(cut), np.int64)
        owner = np.arange(len(cut))
        if self.joint is not None:
            joints = np.flatnonzero(chunk == self.joint)
            line_of = np.searchsorted(lines_start, joints, side="right") - 1
            inside = (line_of >= 0) & (joints > cut[line_of]) & (joints < label_end[line_of])
            joints, line_of = joints[inside], line_of[inside]
            token_start = np.sort(np.concatenate([token_start, joints + 1]))
            token_end = np.sort(np.concatenate([token_end, joints]))
            counts += np.bincount(line_of, minlength=len(cut))
            owner = np.repeat(owner, counts)
        values, bad = _parse_integers(chunk, token_start, token_end)
        bad |= values >= self.num_classes
        bad_line = np.zeros(len(cut), bool)
        bad_line[owner[bad]] = True
        form = "a label is an integer" if self.joint is None else "labels are integers joined by a comma"
        why = f"has a wrong label: {form}, 0 to {self.num_classes - 1} (MODEL.NUM_CLASSES)"
        self._refuse(bad_line, numbers, chunk, lines_start, lines_end, why)
        lengths = (cut - lines_start).astype(np.int32)
        return lines_start + start, lengths, values.astype(np.int32), counts, segments

    def _strip(
        self, chunk: np.ndarray, lines_start: np.ndarray, lines_end: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cuts carriage returns and spaces from line ends, a byte-order mark from the start of the file."""
        while True:
            last = chunk[np.maximum(lines_end - 1, 0)]
            blank = (lines_end > lines_start) & ((last == _RETURN) | (last == _SPACE))
            if not blank.any():
                break
            lines_end = lines_end - blank
        if bytes(chunk[:3]) == b"\xef\xbb\xbf":
            lines_start[0] += 3
        return lines_start, lines_end

    def _refuse(
        self,
        bad: np.ndarray,
        numbers: np.ndarray,
        chunk: np.ndarray,
        lines_start: np.ndarray,
        lines_end: np.ndarray,
        why: str,
    ) -> None:
        if not bad.any():
            return
        i = int(np.argmax(bad))
        shown = bytes(chunk[lines_start[i] : min(lines_end[i], lines_start[i] + 200)]).decode(
            errors="replace"
        )
        hint = f"DATA.PATH_LABEL_SEPARATOR is {chr(self.separator)!r}"
        raise AnnotationError(f"{self.path}, line {numbers[i]}: {shown!r} {why}; {hint}")


def _parse_integers(text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reads the whole numbers at text[start:end]. Returns values (m,) int64 and where they are none (m,)."""
    lengths = ends - starts
    bad = (lengths < 1) | (lengths > 9)
    values = np.zeros(len(starts), np.int64)
    for place in range(int(min(lengths.max(initial=0), 9))):
        here = lengths > place
        digits = text[starts[here] + place].astype(np.int64) - ord("0")
        bad[here] |= (digits < 0) | (digits > 9)
        values[here] = values[here] * 10 + digits
    return values, bad


def _parse_segments(text: np.ndarray, before: np.ndarray, between: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Reads two columns of seconds, cut at the given places: (n, 2) float64, NaN for what is no segment."""
    starts = _parse_decimals(text, before + 1, between)
    ends = _parse_decimals(text, between + 1, end)
    segments = np.stack([starts, ends], axis=1)
    segments[~((starts >= 0) & (starts < ends) & np.isfinite(ends))] = np.nan
    return segments


def _parse_decimals(text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Reads the decimal numbers at text[start:end]: (n,) float64, NaN for what is none."""
    lengths, longest = ends - starts, 24
    tokens = np.zeros((len(starts), longest), np.uint8)
    for place in range(int(min(lengths.max(initial=0), longest))):
        here = lengths > place
        tokens[here, place] = text[starts[here] + place]
    written = tokens.view(f"S{longest}")[:, 0]
    written[(lengths < 1) | (lengths > longest)] = b"nan"
    try:
        return written.astype(np.float64)
    except ValueError:  # at least one is no number: find out which
        return np.array([_float_or_nan(token) for token in written.tolist()])


def _float_or_nan(token: bytes) -> float:
    try:
        return float(token)
    except ValueError:
        return float("nan")
