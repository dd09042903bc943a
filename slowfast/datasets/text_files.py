"""Text files of data sets: lines with numbers, csv, json. In UTF-8, or UTF-16 with a byte-order mark."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from slowfast.errors import AnnotationError, shown

CLASSES_FILE = "classes.json"
"""Name of the file in a data set's folder that maps class names to indices."""

BLANK = " \t\r\n\v\f"
"""Characters that pad lines and columns. A no-break space is not among them: it may be part of a name."""

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_GZIP = b"\x1f\x8b"
_FIRST_BYTES = 4096
# Digits of the longest number that is read as an index.
_MAX_DIGITS = 18


def detect_encoding(first_bytes: bytes, path: str) -> str:
    """Returns the encoding of a text file by its first bytes: UTF-16 by its byte-order mark, else UTF-8.

    Raises:
        AnnotationError: where the file cannot be text in one of the two.
    """
    if first_bytes.startswith(_UTF_32):
        raise AnnotationError(f"{path}: is UTF-32 text; save it as UTF-8")
    if first_bytes.startswith(_UTF_16):
        return "utf-16"
    if b"\0" in first_bytes:
        raise AnnotationError(
            f"{path}: contains zero bytes: it is binary, or UTF-16 without a byte-order mark; save it as "
            "UTF-8 text"
        )
    if first_bytes.startswith(_GZIP):
        raise AnnotationError(f"{path}: is compressed; unpack it with gunzip")
    return "utf-8-sig"


@contextmanager
def open_text(path: str) -> Iterator[TextIO]:
    """Opens a text file; bytes that are not UTF-8 become surrogates, as in file names.

    Raises:
        AnnotationError: where the file cannot be read, or is not text.
    """
    try:
        with open(path, "rb") as file:
            encoding = detect_encoding(file.read(_FIRST_BYTES), path)
        errors = "strict" if encoding == "utf-16" else "surrogateescape"
        with open(path, encoding=encoding, errors=errors, newline="") as text:
            yield text
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: is damaged UTF-16 text ({error}); save it as UTF-8") from error


def read_text(path: str) -> str:
    """Returns the text of a file.

    Raises:
        AnnotationError: where the file cannot be read, or is not text.
    """
    with open_text(path) as file:
        return file.read()


def read_utf8(path: str) -> str:
    """Returns the text of a file whose texts are names and not paths, which may be any bytes.

    Raises:
        AnnotationError: where the file cannot be read, or is not UTF-8 or UTF-16 text.
    """
    text = read_text(path)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _not_utf8(path, error) from error
    return text


def _not_utf8(path: str, error: UnicodeEncodeError) -> AnnotationError:
    return AnnotationError(f"{path}: is not UTF-8 text ({error}); save it as UTF-8")


def read_lines(path: str, padding: str = BLANK) -> Iterator[tuple[int, str]]:
    """Yields number and stripped text of the lines of a file that are not blank; numbers start at 1.

    Args:
        padding: characters that are stripped.

    Raises:
        AnnotationError: where the file cannot be read, or is not text.
    """
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if text := line.strip(padding):
                yield number, text


def read_table(path: str, *, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yields line number and stripped cells of a csv file with quotes; blank lines are skipped.

    Each line is a row. A quote that its line does not close is refused, since the cell would otherwise
    contain all lines up to the next quote.

    Raises:
        AnnotationError: where the file cannot be read, or is not csv.
    """
    # Tabs at the end of a line are empty cells where they separate the cells.
    for line, text in read_lines(path, BLANK.replace(delimiter, "")):
        try:
            cells = [cell.strip(BLANK) for cell in split_quoted(text, delimiter)]
        except csv.Error as error:
            raise AnnotationError(
                f"{path}, line {line}: {shown(text)} is not valid csv ({error}); close each "
                "quote in its line, and write a quote inside quotes twice"
            ) from error
        if any(cells):
            yield line, cells


def split_quoted(text: str, delimiter: str) -> list[str]:
    """Returns the cells of one line of csv, which may be padded outside their quotes.

    Raises:
        csv.Error: where a quote is not closed, or is followed by other text than a delimiter.
    """
    # csv has no padding between a closing quote and a delimiter.
    padding = rf'(?<!")"[ \t]+(?={re.escape(delimiter)})'
    padded = text if delimiter in " \t" else re.sub(padding, '"', text)
    return next(csv.reader([padded], delimiter=delimiter, skipinitialspace=True, strict=True))


def parse_index(text: str) -> int | None:
    """Returns the number that a text of digits stands for; None for any other text.

    ``str.isdigit`` also accepts ``²``, and ``int`` refuses numbers of thousands of digits.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else None


def parse_segment(start: Any, end: Any) -> tuple[float, float] | None:
    """Returns start and end of a segment as seconds, 0 <= start < end; None for any other values."""
    if "_" in f"{start}{end}":  # `float` reads 1_0 as 10
        return None
    try:
        first, last = float(start), float(end)
    except (TypeError, ValueError, OverflowError):
        return None
    return (first, last) if 0 <= first < last < float("inf") else None


def read_json(path: str, kind: type) -> Any:
    """Returns the value of a json file, a ``dict`` or a ``list``.

    Raises:
        AnnotationError: where the file cannot be read, is not valid json, or has a value of another type.
    """
    text = read_utf8(path)
    try:
        value = json.loads(text, object_pairs_hook=_as_dict if kind is dict else None)
        if "\\ud" in text.lower():  # the escape of half a character, which no file name contains
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise _not_utf8(path, error) from error
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{path}, line {error.lineno}: is not valid json ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or too many brackets
        raise AnnotationError(f"{path}: is not valid json ({error})") from error
    if not isinstance(value, kind):
        raise AnnotationError(f"{path}: contains a {type(value).__name__}; it must be a {kind.__name__}")
    return value


def _as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns an object of json as a dict; json itself would keep the last of two equal keys."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is there twice")
        found[key] = value
    return found
