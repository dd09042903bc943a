"""The grammar of lists of videos, for data sets and for the tools that prepare them.

A line is ``path<separator>label``. The last separator of a line counts, so that paths may contain it. Columns
may be padded and aligned, and quoted as in csv; blank lines are skipped. The first line may name the columns:
a path and a label, then start and end of a segment in seconds, the group of videos that are alike
(:mod:`slowfast.datasets.groups`), and columns that are not read, such as ``total_frames``. A line that can be
understood in two ways is refused. This module imports no torch.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from slowfast.datasets.text_files import BLANK, read_lines, split_quoted
from slowfast.errors import AnnotationError, shown

PATH, LABEL, START, END, GROUP, UNUSED = "path", "label", "start", "end", "group", ""

_NAMES = {
    PATH: "path video video_path video_name file file_path filepath file_name filename name clip clip_path",
    LABEL: "label labels label_id label_index label_idx class class_id class_index class_idx target category",
    START: "start start_time start_sec start_seconds time_start begin",
    END: "end end_time end_sec end_seconds time_end stop",
    GROUP: "group groups group_id source source_id source_video subject person participant scene",
    UNUSED: "total_frames num_frames n_frames frames frame_count length duration fps split subset width "
    "height unused index id class_name label_name category_name",
}
# Name in a header, in lower case -> column.
COLUMN_OF = {name: column for column, names in _NAMES.items() for name in names.split()}
_SEPARATOR_NAMES = {" ": "a space", ",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
_ALIGNED_TABS = re.compile(r"\t\s*", re.ASCII)
# The separator of a line whose path, up to a file's suffix, may contain other separators.
_AFTER_SUFFIX = re.compile(r"\.\w+([,;|])[\d,;]+$", re.ASCII)
_QUOTING = "put each column that needs them into double quotes, and write a quote inside them twice"


class ListRow(NamedTuple):
    """One line of a list, its cells as written.

    Attributes:
        line: number of the line, from 1.
        text: the line, stripped.
        path: of the video.
        label: one class index, or several joined by commas or semicolons.
        start, end: of the segment, in seconds; empty for full files.
        group: name of the group; empty without such a column.
    """

    line: int
    text: str
    path: str
    label: str
    start: str = ""
    end: str = ""
    group: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the label, which may be several, as in ``0,3``; none without a label."""
        cells = self.label.replace(";", ",").split(",") if self.label else ()
        return tuple(cell.strip() for cell in cells)


@dataclass(frozen=True)
class ListFormat:
    """The format of one list.

    Attributes:
        source: the file, for messages.
        separator: between columns, one ASCII character. A space stands for any spaces and tabs.
        columns: the columns after the path: ``LABEL``, ``START``, ``END``, ``GROUP`` or ``UNUSED``.
        header: the line that names the columns; empty: the list has none.
        key: the config key or option that chooses the separator, for messages.
    """

    source: str
    separator: str
    columns: tuple[str, ...] = (LABEL,)
    header: str = ""
    key: str = "DATA.PATH_LABEL_SEPARATOR"

    @classmethod
    def detect(
        cls,
        first_line: str,
        source: str,
        separator: str,
        key: str = "DATA.PATH_LABEL_SEPARATOR",
        *,
        line: int = 1,
    ) -> ListFormat:
        """Returns the format of a list by its first line, which may be a header.

        Raises:
            AnnotationError: where the separator is not one ASCII character, or a header names an unknown
                column, one column twice, or another column than the path first.
        """
        separator = {"\\t": "\t"}.get(separator, separator)
        if len(separator.encode()) != 1:
            raise AnnotationError(f"{source}: {key} = {separator!r}: must be one ASCII character")
        plain = cls(source, separator, key=key)
        cells = first_line.lstrip("#").strip(BLANK).split(None if separator == " " else separator)
        names = [cell.strip(BLANK).strip('"').lower() for cell in cells]
        names = [name for name in names if name or separator != "\t"]
        columns = [COLUMN_OF.get(name, UNUSED if not name else None) for name in names]
        # A path may contain the name of a column, but a header contains no number.
        if PATH not in columns or LABEL not in columns or any(name.isdecimal() for name in names):
            return plain
        if problem := _header_problem(names, columns):
            raise plain.error(line, first_line, f"is a header {problem}")
        known = tuple(column for column in columns if column is not None)
        return cls(source, separator, known[1:], first_line, key)

    def parse(self, line: int, text: str) -> ListRow:
        """Returns the cells of a line that is stripped and not blank.

        Raises:
            AnnotationError: where cells are missing.
        """
        if problem := _line_problem(text, self.header):
            raise self.error(line, text, problem)
        cells = self._split(line, text, len(self.columns))
        is_short = len(cells) <= len(self.columns)
        if is_short or ("" in cells and not all(cells[i] for i in (0, *self._places.values()))):
            why = f"is not {self._describe()}"
            if text[-1] == self.separator:
                why += (
                    f"; remove {self.separator!r} from the ends of lines, or name all columns in a first line"
                )
            raise self.error(line, text, why, hint=True)
        path = cells[0]
        if self.separator == " " and path[-1] in ",;" and text[0] != '"':
            hint = f"the columns are separated by {path[-1]!r}; set {self.key} to it"
            raise self.error(line, text, f"is not {self._describe()} separated by a space: {hint}")
        row = ListRow(line, text, path, **{column: cells[i] for column, i in self._places.items()})
        if problem := _row_problem(row):
            raise self.error(line, text, problem)
        return row

    @cached_property
    def _places(self) -> dict[str, int]:
        """Column -> index of its cell in a line, for the columns after the path that are read."""
        return {column: place for place, column in enumerate(self.columns, 1) if column != UNUSED}

    def error(self, line: int, text: str, why: str, *, hint: bool = False) -> AnnotationError:
        """Returns the error that names a line and what is wrong with it.

        Args:
            hint: also name the separator, and another one that the line contains.
        """
        message = f"{self.source}, line {line}: {shown(text)} {why}"
        if hint:
            message += f"; {self.key} is {self.separator!r}"
            written = _AFTER_SUFFIX.search(text)
            others = [s for s in (written[1] if written else "\t,;| ") if s in text and s != self.separator]
            if others and (written or self.separator not in text):
                message += f", but the line contains {_SEPARATOR_NAMES[others[0]]}: set it to {others[0]!r}"
            elif self.separator not in text:
                message += ", which the line does not contain: write the label after the path"
        return AnnotationError(message)

    def _split(self, line: int, text: str, count: int) -> list[str]:
        """Returns the path and the ``count`` cells after it; fewer where the line has fewer."""
        cells = self._split_last(text, count)
        # Quotes inside a path belong to its name; those around a column are not part of it.
        if text[0] != '"' and not any(cell and '"' in (cell[0], cell[-1]) for cell in cells[1:]):
            return cells
        try:
            split = split_quoted(text, self.separator)
            cells = [cell for cell in split if cell or self.separator not in " \t"]
        except csv.Error as error:
            raise self.error(line, text, f"is not valid csv ({error}); {_QUOTING}", hint=True) from None
        if len(cells) != count + 1:
            raise self.error(line, text, f"is not {self._describe()}, but has quotes; {_QUOTING}", hint=True)
        # Blanks in quotes belong to the path.
        path = cells[0] if text[0] == '"' else cells[0].strip(BLANK)
        return [path, *(cell.strip(BLANK) for cell in cells[1:])]

    def _split_last(self, text: str, count: int) -> list[str]:
        """Divides a line at its last ``count`` separators."""
        separator = self.separator
        if separator == " ":
            # Of bytes, because ``str.rsplit`` also splits at blanks that are part of names.
            encoded = text.encode(errors="surrogateescape").rsplit(None, count)
            return [cell.decode(errors="surrogateescape") for cell in encoded]
        if separator == "\t":
            text = _ALIGNED_TABS.sub("\t", text)
        return [cell.strip(BLANK) for cell in text.rsplit(separator, count)]

    def _describe(self) -> str:
        """Returns the expected columns in words."""
        if self.columns == (LABEL,):
            return "a path and a label"
        return f"{len(self.columns) + 1} columns as in the header {self.header!r}"


def format_row(cells: Sequence[str], separator: str, columns: Sequence[str] = ()) -> str:
    """Returns the line of a list that has these cells.

    Args:
        cells: one per column, the path first.
        columns: of the header; empty: without one, cells are path, label, and start and end of a segment.

    Raises:
        AnnotationError: where no line reads as these cells, because the path contains a line end.
    """
    names = tuple(columns or (PATH, LABEL, START, END)[: len(cells)])
    form = ListFormat("", separator, names[1:], separator.join(columns))
    wanted = dict(zip(names, cells, strict=True))
    written = [
        (cell, '"' + cell.replace('"', '""') + '"') if name in (PATH, GROUP) else (cell,)
        for name, cell in wanted.items()
    ]
    for line in map(separator.join, itertools.product(*written)):
        if "\n" in line or "\r" in line or line != line.strip(BLANK):
            continue
        with suppress(AnnotationError):
            row = form.parse(1, line)
            if all(getattr(row, name) == cell for name, cell in wanted.items()):
                return line
    raise AnnotationError(
        f"{cells[0]!r} with {cells[1]!r}: cannot be a line of a list separated by {separator!r}; rename the "
        "file, or choose another --separator"
    )


def _header_problem(names: Sequence[str], columns: Sequence[str | None]) -> str:
    """Returns the problem of a header as the end of a sentence; empty for a valid one.

    Args:
        names: as written, in lower case.
        columns: of the names; None for unknown ones.
    """
    known = ", ".join(column for column in _NAMES if column)
    if None in columns:
        name = names[columns.index(None)]
        return f"with the unknown column {name!r}; name it 'unused' if it shall not be read, else {known}"
    for column in filter(None, _NAMES):
        same = [name for name, other in zip(names, columns, strict=True) if other == column]
        if len(same) > 1:
            return f"with several {column} columns ({', '.join(same)}); rename all but one to 'unused'"
    if columns[0] != PATH:
        return "whose first column is not the path; move it there"
    if (START in columns) != (END in columns):
        return "with only one of start and end; name both"
    return ""


def _line_problem(text: str, header: str) -> str:
    """Returns why a line is not a row at all, as the end of a sentence; empty for a row."""
    if text.startswith(("# ", "#\t", "// ")) or text in ("#", "//"):
        return "is a comment; lists contain no comments: remove the line"
    if text[0] in "{[" and text[-1] in "}],[{":
        return "is json; write one line of path and label per video"
    if text == header:
        return "repeats the header; remove the line"
    return ""


def _row_problem(row: ListRow) -> str:
    """Returns why a row cannot be meant as it is written, as the end of a sentence; empty for a valid one."""
    if "\0" in row.text:
        return "contains a zero byte; save the list as UTF-8 text"
    if len(row.path) > 1 and row.path[0] == row.path[-1] == "'":
        return "has single quotes around the path; remove them, or use double quotes"
    if row.path.isdecimal() and not row.label.isdecimal() and ("/" in row.label or "." in row.label[1:-1]):
        return "has the label before the path; write the path first"
    return ""


def read_list(
    source: str, separator: str, *, key: str = "DATA.PATH_LABEL_SEPARATOR"
) -> tuple[ListFormat, Iterator[ListRow]]:
    """Reads a list of videos.

    Args:
        source: the file.
        separator: between columns.
        key: the config key or option that chooses the separator, for messages.

    Returns:
        The format, and an iterator over the rows.

    Raises:
        AnnotationError: where the file cannot be read or is empty; while iterating, for the first wrong line.
    """
    lines = read_lines(source)
    number, first = next(lines, (0, ""))
    if not number:
        raise AnnotationError(f"{source}: contains no video; each line is a path, {separator!r} and a label")
    form = ListFormat.detect(first, source, separator, key, line=number)
    rows = lines if form.header else itertools.chain([(number, first)], lines)
    return form, (form.parse(line, text) for line, text in rows)
