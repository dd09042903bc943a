"""Lists of ``path label`` as annotations, fast enough for ten million rows.

:mod:`slowfast.datasets.video_list` defines the format. NumPy reads chunks of clean lines, which most lists
consist of (:mod:`slowfast.datasets.readers.clean_lines`); all other chunks are read line by line.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slowfast.datasets.annotations import Annotations, PathTable
from slowfast.datasets.readers.clean_lines import NotCleanError, RowArrays, read_clean
from slowfast.datasets.text_files import BLANK, detect_encoding, parse_segment, read_text
from slowfast.datasets.video_folder import VIDEO_SUFFIXES
from slowfast.datasets.video_list import GROUP, LABEL, START, ListFormat, ListRow
from slowfast.errors import AnnotationError

# Lines are parsed in chunks of about this many bytes, so that intermediate arrays stay small.
_CHUNK_BYTES = 1 << 22
_NEWLINE, _RETURN = 10, 13
_FIRST_BYTES = 4096
# Digits of the longest label that is read as a number: ``int`` refuses those of thousands of digits.
_MAX_DIGITS = 18
# A larger label is a mistake, not the number of a class.
_MOST_CLASSES = 100_000
# A line ``a.mp4 3 17``, as MMAction2 writes several labels.
_SPACED_LABELS = re.compile(
    rb"^(?P<path>[^\n]*\.(?:%s))(?P<labels>(?:[ ]+\d+){2,})[ \r]*$"
    % b"|".join(suffix[1:].encode() for suffix in sorted(VIDEO_SUFFIXES)),
    re.IGNORECASE | re.MULTILINE,
)


def read_csv(
    path: str,
    *,
    num_classes: int,
    separator: str = " ",
    prefix: str = "",
    multi_label: bool = False,
    separator_key: str = "DATA.PATH_LABEL_SEPARATOR",
    several_labels: str = "for several labels per video set DATA.MULTI_LABEL True",
) -> Annotations:
    """Reads a list of videos; see :mod:`slowfast.datasets.video_list` for its format.

    Args:
        path: the file.
        num_classes: K; labels are integers in [0, K).
        separator: between columns, one character.
        prefix: folder in front of relative paths.
        multi_label: a label is a list such as ``3,17`` (or ``3;17``).
        separator_key: the config key or option that chooses the separator, for messages.
        several_labels: the end of the message about a label that is a list, without ``multi_label``.

    Raises:
        AnnotationError: for a missing or empty file and for the first line that cannot be read.
    """
    shared = _read_shared(path)
    text = shared.numpy()
    start, line, form = _read_header(text, path, separator, separator_key)
    if multi_label and separator == " " and form.columns == (LABEL,):
        _refuse_spaced_labels(text, path)
    reader = _ChunkReader(text, form, num_classes, multi_label, several_labels)
    chunks = [reader.read(*chunk) for chunk in _chunks(text, start, line)]
    if sum(len(chunk.starts) for chunk in chunks) == 0:
        raise AnnotationError(f"{path}: contains no video; each line is a path, {separator!r} and a label")
    rows = RowArrays(*(np.concatenate(arrays) for arrays in zip(*chunks, strict=True)))
    label_starts = None
    if multi_label:
        label_starts = torch.from_numpy(np.concatenate([[0], np.cumsum(rows.counts)]))
    table = PathTable(shared, torch.from_numpy(rows.starts), torch.from_numpy(rows.lengths), prefix)
    segments = torch.from_numpy(rows.segments) if START in form.columns else None
    groups = None
    if GROUP in form.columns:
        starts, lengths = torch.from_numpy(rows.groups).unbind(1)
        groups = PathTable(shared, starts.contiguous(), lengths.to(torch.int32))
    labels = torch.from_numpy(rows.labels)
    return Annotations(table, labels, label_starts, num_classes, segments, groups=groups)


def _read_shared(path: str) -> Tensor:
    """Returns the bytes of a file as UTF-8, (bytes,) uint8.

    They are read into shared memory, where the paths stay: a copy would raise the peak of memory.
    """
    try:
        with open(path, "rb") as file:
            buffer = torch.empty(os.fstat(file.fileno()).st_size, dtype=torch.uint8).share_memory_()
            shared = buffer[: file.readinto(buffer.numpy())]
    except OSError as error:
        raise AnnotationError(
            f"{path}: cannot be read ({error.strerror}); check DATA.PATH_TO_DATA_DIR"
        ) from error
    if detect_encoding(shared[:_FIRST_BYTES].numpy().tobytes(), path) == "utf-16":
        encoded = bytearray(read_text(path).encode(errors="surrogateescape"))
        shared = torch.from_numpy(np.frombuffer(encoded, np.uint8))
    _normalize_line_ends(shared.numpy())
    return shared


def _normalize_line_ends(text: np.ndarray) -> None:
    """Replaces carriage returns without a newline after them by newlines, in place (old spreadsheets)."""
    for start in range(0, len(text), _CHUNK_BYTES):
        returns = np.flatnonzero(text[start : start + _CHUNK_BYTES] == _RETURN) + start
        followers = text[(returns + 1).clip(max=len(text) - 1)]
        text[returns[followers != _NEWLINE]] = _NEWLINE


def _read_header(text: np.ndarray, path: str, separator: str, key: str) -> tuple[int, int, ListFormat]:
    """Returns the offset and the number of the first line of rows, and the format."""
    start, line, first = 0, 0, b""
    if text[:3].tobytes() == codecs.BOM_UTF8:
        start = len(codecs.BOM_UTF8)
    end = start
    while not first.strip() and end < len(text):  # skips blank lines
        start, line = end, line + 1
        ahead = text[start : start + _FIRST_BYTES].tobytes()
        first = ahead[: ahead.find(b"\n") + 1 or len(ahead)]
        end = start + len(first)
    first_line = first.decode(errors="surrogateescape").strip(BLANK)
    form = ListFormat.detect(first_line, path, separator, key, line=line or 1)
    return (end, line + 1, form) if form.header else (start, line, form)


def _refuse_spaced_labels(text: np.ndarray, path: str) -> None:
    """Raises ``AnnotationError`` for the first line whose labels are separated by spaces.

    All but the last would be taken for a part of the path, and the video would be missing.
    """
    if match := _SPACED_LABELS.search(text.data):
        line = int(np.count_nonzero(text[: match.start()] == _NEWLINE)) + 1
        name, labels = (match[group].decode(errors="surrogateescape") for group in ("path", "labels"))
        raise AnnotationError(
            f"{path}, line {line}: {name + labels!r} has labels that are separated by spaces; join them by "
            f"commas: {name + ' ' + ','.join(labels.split())!r}"
        )


def _chunks(text: np.ndarray, start: int, line: int) -> Iterator[tuple[int, int, int]]:
    """Divides the text from ``start`` on after line ends: yields (start, end, number of the first line)."""
    while start < len(text):
        end = min(start + _CHUNK_BYTES, len(text))
        if end < len(text):
            # Extend the chunk to the end of its last line; look a little ahead first, since lines are short.
            rest = text[end:]
            ahead = np.flatnonzero(rest[:65536] == _NEWLINE)
            if len(ahead) == 0:
                ahead = np.flatnonzero(rest == _NEWLINE)
            end = end + int(ahead[0]) + 1 if len(ahead) else len(text)
        # Counted here: the reader of the chunk may replace its lines.
        lines = int(np.count_nonzero(text[start:end] == _NEWLINE))
        yield start, end, line
        start, line = end, line + lines


@dataclass(frozen=True)
class _ChunkReader:
    """Reads the rows of chunks of whole lines.

    Attributes:
        text: (bytes,) uint8, the file.
        form: of its lines.
        num_classes: K.
        multi_label, several_labels: see :func:`read_csv`.
    """

    text: np.ndarray
    form: ListFormat
    num_classes: int
    multi_label: bool
    several_labels: str

    def read(self, start: int, end: int, line: int) -> RowArrays:
        """Returns the rows of ``text[start:end]``, whose first line has the number ``line``."""
        try:
            rows = read_clean(self.text[start:end], self.form, self.num_classes, self.multi_label)
        except NotCleanError:
            return self._read_lines(start, end, line)
        return rows._replace(starts=rows.starts + start, groups=rows.groups + np.array([start, 0]))

    def _read_lines(self, start: int, end: int, line: int) -> RowArrays:
        """Reads line by line, and replaces the chunk in ``text`` by the paths, and the groups after them."""
        paths, labels, counts, segments, groups = [], [], [], [], []
        lines = self.text[start:end].tobytes().decode(errors="surrogateescape").split("\n")
        for number, content in enumerate(lines, line):
            content = content.strip(BLANK)
            if not content:
                continue
            row = self.form.parse(number, content)
            values = self._labels(row)
            paths.append(row.path.encode(errors="surrogateescape"))
            labels += values
            counts.append(len(values))
            if row.start:
                segments.append(self._segment(row))
            if row.group:
                groups.append(row.group.encode(errors="surrogateescape"))
        # A path and a group are never longer than their line, so that all fit into the place of the lines.
        joined = np.frombuffer(b"".join(paths + groups), np.uint8)
        self.text[start : start + len(joined)] = joined
        lengths = np.array([len(cell) for cell in paths + groups], np.int64)
        starts = start + np.cumsum(lengths) - lengths
        count = len(paths)
        return RowArrays(
            starts[:count],
            lengths[:count].astype(np.int32),
            np.array(labels, np.int32),
            np.array(counts, np.int64),
            np.array(segments, np.float64).reshape(-1, 2),
            np.stack([starts[count:], lengths[count:]], axis=1),
        )

    def _labels(self, row: ListRow) -> list[int]:
        if 0 <= (value := _parse_decimal(row.label)) < self.num_classes:
            return [value]
        values = [_parse_decimal(cell) for cell in (row.classes if self.multi_label else [row.label.strip()])]
        if not all(0 <= value < self.num_classes for value in values):
            form = "labels are integers joined by a comma" if self.multi_label else "a label is an integer"
            why = f"has a wrong label: {form}, 0 to {self.num_classes - 1} (MODEL.NUM_CLASSES)"
            why += self._explain_label(row, values)
            raise self.form.error(row.line, row.text, why, hint=True)
        return values

    def _explain_label(self, row: ListRow, values: Sequence[int]) -> str:
        """Returns the likely cause of a wrong label, as the end of a sentence; empty if unknown."""
        if len(values) == 1 and values[0] == self.num_classes:
            remedy = "subtract 1 where labels begin at 1, else set MODEL.NUM_CLASSES higher"
            return f"; the first class is 0: {remedy}"
        if min(values) >= 0 and self.num_classes <= (largest := max(values)) < _MOST_CLASSES:
            return f"; for {largest + 1} classes set MODEL.NUM_CLASSES {largest + 1}"
        if not self.multi_label and len(row.classes) > 1 and all(map(str.isdecimal, row.classes)):
            return f"; {self.several_labels}"
        if any(character.isalpha() for character in row.label):
            hint = "; write the index of a class, not its name"
            header = "; a first line that names the columns must be 'path label'"
            return hint + header if row.line == 1 else hint
        return ""

    def _segment(self, row: ListRow) -> tuple[float, float]:
        if (segment := parse_segment(row.start, row.end)) is None:
            why = "has a wrong segment: start and end are seconds, 0 <= start < end"
            raise self.form.error(row.line, row.text, why, hint=True)
        return segment


def _parse_decimal(text: str) -> int:
    """Returns the number that decimal digits of any script stand for; -1 for other texts."""
    return int(text) if text.isdecimal() and len(text) <= _MAX_DIGITS else -1
