"""Lists of videos to work on: a file of ``path label`` lines, kept as they are written, or a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from slowfast.datasets.text_files import CLASSES_FILE
from slowfast.datasets.video_folder import VIDEO_SUFFIXES, find_videos
from slowfast.datasets.video_list import ListRow, read_list
from slowfast.errors import AnnotationError, DataError
from slowfast.files import atomic_write, write_text


@dataclass(frozen=True)
class VideoList:
    """A list of videos.

    Attributes:
        source: the file or folder.
        root: folder to which relative paths refer.
        header: first line, which names the columns; empty where it has no header.
        entries: its rows, whose paths have the prefix; of a folder the videos, without a label.
    """

    source: str
    root: str
    header: str
    entries: tuple[ListRow, ...]

    @property
    def paths(self) -> list[str]:
        """The path of each file once, in the order of the list."""
        return list(dict.fromkeys(entry.path for entry in self.entries))

    def require_labels(self) -> None:
        """Raises ``AnnotationError`` for a folder, whose videos have no labels."""
        if not all(entry.label for entry in self.entries):
            raise AnnotationError(
                f"{self.source}: is a folder without labels; write a list with make-csv first"
            )

    def require_other(self, path: str, remedy: str) -> None:
        """Raises ``DataError`` for the path of the list itself, which must not be overwritten."""
        if os.path.exists(path) and os.path.samefile(path, self.source):
            raise DataError(f"{path}: is the list itself and would be overwritten; {remedy}")

    def write(self, path: str, entries: Iterable[ListRow]) -> None:
        """Writes a list of some of the entries, with their lines unchanged."""
        write_text(path, self._text(entries))

    def write_all(self, lists: Mapping[str, Iterable[ListRow]]) -> None:
        """Writes several lists, path -> entries, that belong together.

        Earlier ones are deleted once all new ones are written: an interruption leaves old lists or new ones,
        and never both.
        """
        with ExitStack() as stack:
            for path, entries in lists.items():
                temporary = stack.enter_context(atomic_write(path))
                temporary.write_text(self._text(entries), encoding="utf-8", errors="surrogateescape")
            for path in lists:
                Path(path).unlink(missing_ok=True)

    def copy_class_names(self, lists: Iterable[str]) -> list[str]:
        """Copies the names of the classes, which training looks for beside its lists, to the new lists.

        Returns:
            A line of the report for each folder that keeps a file with other names.
        """
        names = Path(self.source).with_name(CLASSES_FILE)
        if os.path.isdir(self.source) or not names.is_file():
            return []
        content, warnings = names.read_bytes(), []
        for copy in dict.fromkeys(Path(path).with_name(CLASSES_FILE) for path in lists):
            if not copy.exists():
                with atomic_write(copy) as temporary:
                    temporary.write_bytes(content)
            elif copy.read_bytes() != content:
                warnings.append(f"warning: {copy} differs from {names}; delete the one that is wrong")
        return warnings

    def _text(self, entries: Iterable[ListRow]) -> str:
        lines = [self.header] if self.header else []
        return "".join(f"{line}\n" for line in [*lines, *(entry.text for entry in entries)])


def read_video_list(source: str, *, separator: str = " ", prefix: str = "") -> VideoList:
    """Reads a list of videos, in the format of :mod:`slowfast.datasets.video_list`, or a folder.

    Args:
        source: the file or folder.
        separator: between the columns of a list.
        prefix: folder to which relative paths of a list refer.

    Raises:
        AnnotationError: for a video; names the file and the line that cannot be read.
    """
    if os.path.isdir(source):
        entries = [
            ListRow(line=number, text=name, path=os.path.join(source, name), label="")
            for number, name in enumerate(find_videos(source), 1)
        ]
        if not entries:
            raise AnnotationError(f"{source}: contains no video file")
        return VideoList(source, source, "", tuple(entries))
    if os.path.splitext(source)[1].lower() in VIDEO_SUFFIXES and os.path.isfile(source):
        folder = os.path.dirname(source) or os.curdir
        raise AnnotationError(
            f"{source}: is a video; give a list of videos, or the folder {folder} for all videos in it"
        )
    form, rows = read_list(source, separator, key="--separator")
    entries = [row._replace(path=os.path.join(prefix, row.path)) for row in rows]
    if not entries:
        raise AnnotationError(f"{source}: contains no video")
    return VideoList(source, prefix or os.curdir, form.header, tuple(entries))
