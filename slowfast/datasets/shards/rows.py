"""The rows of one shard: its videos with their labels, read from the members of a tar archive.

The members of a sample have one name before the first dot, its key: ``000123.mp4`` is the video of sample
``000123``, ``000123.cls`` its class index, and ``000123.json`` an object with ``label``, or ``labels``, and
where the list has them ``start`` and ``end`` in seconds, ``group``, and ``path``, the file that the video was
copied from. A video of several rows has them as ``rows``, a list of such objects. Other members are not read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

from slowfast.datasets.text_files import parse_index, parse_segment
from slowfast.datasets.video_folder import VIDEO_SUFFIXES
from slowfast.errors import AnnotationError, shown
from slowfast.files import parse_json
from slowfast.video.archive.member import member_name
from slowfast.video.archive.tar_file import TarEntry, TarError, scan_tar

CLASS_SUFFIX, JSON_SUFFIX = "cls", "json"
# Bytes of a member with labels; a larger one is something else.
_MOST_BYTES = 1 << 24


class Row(NamedTuple):
    """A video of a shard with its labels; a file with several segments has several rows.

    Attributes:
        member: name of the video in the archive.
        start, size: first byte and number of bytes of the video.
        labels: at least one class index.
        original: path of the file that the video was copied from; empty: unknown.
        segment: start and end in seconds; None for the full video.
        group: name of the group; empty without one.
    """

    member: str
    start: int
    size: int
    labels: tuple[int, ...]
    original: str = ""
    segment: tuple[float, float] | None = None
    group: str = ""


def read_rows(shard: str) -> list[Row]:
    """Reads the headers and labels of a shard; the videos are not read.

    Raises:
        AnnotationError: for a damaged or compressed archive, and for the first sample that has no label, or
            not exactly one video.
    """
    try:
        samples = _group(shard)
        with open(shard, "rb") as file:
            return [row for key in samples for row in _Sample(shard, key, samples[key], file).rows()]
    except TarError as error:
        raise AnnotationError(f"{shard}: {error}") from error
    except OSError as error:
        raise AnnotationError(f"{shard}: cannot be read ({error.strerror})") from error


def _group(shard: str) -> dict[str, dict[str, TarEntry]]:
    """Returns key -> suffix -> member."""
    samples: dict[str, dict[str, TarEntry]] = {}
    for entry in scan_tar(shard):
        folder, name = os.path.split(entry.name)
        stem, _, suffix = name.partition(".")
        if not stem or not suffix:  # hidden files, and files without a suffix
            continue
        members = samples.setdefault(os.path.join(folder, stem), {})
        if members.setdefault(suffix.lower(), entry) is not entry:
            raise AnnotationError(f"{member_name(shard, entry.name)}: is there twice; keys must be unique")
    return samples


class _Sample:
    """The members of one sample.

    Args:
        shard: the archive.
        key: of the sample.
        members: suffix -> member.
        file: the open archive.
    """

    def __init__(self, shard: str, key: str, members: Mapping[str, TarEntry], file: BinaryIO) -> None:
        self._shard, self._members, self._file = shard, members, file
        videos = [entry for suffix, entry in members.items() if f".{suffix}" in VIDEO_SUFFIXES]
        if len(videos) != 1:
            found = ", ".join(entry.name for entry in members.values())
            raise AnnotationError(
                f"{shard}: the sample {key!r} must have one video, such as {key}.mp4, and has {len(videos)} "
                f"(its members: {found})"
            )
        self._video = videos[0]

    def rows(self) -> Iterator[Row]:
        """Yields the rows of the sample."""
        values = self._json()
        label = self._class_index()
        listed = values.get("rows", [values])
        if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed) or not listed:
            raise self._error(JSON_SUFFIX, "'rows' must be a list of objects with a label each")
        original = values.get("path", "")
        if not isinstance(original, str):
            raise self._error(JSON_SUFFIX, f"'path' = {original!r} must be a text")
        self._check_text("path", original)
        for row in listed:
            group = "" if row.get("group") is None else str(row["group"])
            self._check_text("group", group)
            yield Row(*self._video, self._labels(row, label), original, self._segment(row), group)

    def _labels(self, row: Mapping[str, Any], label: int | None) -> tuple[int, ...]:
        value = row.get("label", row.get("labels"))
        if value is None:
            if label is None:
                raise AnnotationError(
                    f"{member_name(self._shard, self._video.name)}: has no label; add a member .cls with a "
                    "class index, or .json with 'label' or 'labels'"
                )
            return (label,)
        values = value if isinstance(value, list) else [value]
        if not values or any(type(item) is not int for item in values):
            raise self._error(JSON_SUFFIX, f"the label {value!r} must be a class index or a list of them")
        if label is not None and values != [label]:
            raise self._error(JSON_SUFFIX, f"the label {value!r} differs from {label} in .{CLASS_SUFFIX}")
        return tuple(values)

    def _segment(self, row: Mapping[str, Any]) -> tuple[float, float] | None:
        if "start" not in row and "end" not in row:
            return None
        if (segment := parse_segment(row.get("start"), row.get("end"))) is None:
            raise self._error(JSON_SUFFIX, "'start' and 'end' must be seconds, 0 <= start < end")
        return segment

    def _class_index(self) -> int | None:
        if CLASS_SUFFIX not in self._members:
            return None
        text = self._read(CLASS_SUFFIX).decode(errors="replace").strip()
        if (index := parse_index(text)) is None:
            raise self._error(CLASS_SUFFIX, f"contains {shown(text)}, which must be a class index")
        return index

    def _json(self) -> dict[str, Any]:
        if JSON_SUFFIX not in self._members:
            return {}
        try:
            values = parse_json(self._read(JSON_SUFFIX))
        except ValueError as error:
            raise self._error(JSON_SUFFIX, f"is not valid json ({error})") from error
        if not isinstance(values, dict):
            raise self._error(JSON_SUFFIX, f"contains a {type(values).__name__}, which must be an object")
        return values

    def _check_text(self, name: str, text: str) -> None:
        """Refuses a text that cannot be stored or name a file; bytes that are not UTF-8 can."""
        if "\0" in text:
            raise self._error(JSON_SUFFIX, f"{name!r} = {text!r} must be a text without zero bytes")
        try:
            os.fsencode(text)
        except UnicodeEncodeError as error:
            raise self._error(JSON_SUFFIX, f"{name!r} = {text!r} must be valid Unicode ({error})") from error

    def _read(self, suffix: str) -> bytes:
        entry = self._members[suffix]
        if entry.size > _MOST_BYTES:
            raise self._error(suffix, f"has {entry.size} bytes, too many for labels")
        self._file.seek(entry.start)
        return self._file.read(entry.size)

    def _error(self, suffix: str, problem: str) -> AnnotationError:
        return AnnotationError(f"{member_name(self._shard, self._members[suffix].name)}: {problem}")
