"""A member of a tar archive that is opened in place of a file, by its byte range.

Tar archives store the bytes of a member one after another, so that the range is a complete file. FFmpeg could
read it through its protocol ``subfile``, but not every build has it, and torchcodec's builds do not.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, BinaryIO

from slowfast.errors import DecodeError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_SEPARATOR = ": "
_ARCHIVE_ENDING = ".tar"


class TarMember(str):
    """The name of a member, such as ``shard-000001.tar: 000123.mp4``, with its place in the archive.

    It is a text, so that it stands wherever the path of a video does: in tables, messages and results. What
    opens a video reads the byte range instead of a file of this name.

    Attributes:
        archive: path of the archive.
        start, size: first byte and number of bytes of the member's content.
        original: path of the file that the member was made of, as its data set names it; empty: unknown.

    >>> TarMember.at("data/shard-000001.tar", "000123.mp4", 512, 4096)
    'data/shard-000001.tar: 000123.mp4'
    """

    archive: str
    start: int
    size: int
    original: str

    @classmethod
    def at(cls, archive: str, member: str, start: int, size: int, original: str = "") -> TarMember:
        """Returns the member of an archive at a byte range."""
        name = cls(member_name(archive, member))
        name.archive, name.start, name.size, name.original = archive, start, size, original
        return name

    @property
    def member(self) -> str:
        """Name of the member in the archive."""
        return self[len(self.archive) + len(_SEPARATOR) :]

    def open(self) -> BinaryIO:
        """Opens the content as a seekable binary file of its own.

        Raises:
            OSError: where the archive cannot be opened.
        """
        return MemberFile(self)  # type: ignore[return-value]

    def check(self) -> None:
        """Raises a DecodeError unless the archive exists and contains the whole range."""
        try:
            status = os.stat(self.archive)
        except FileNotFoundError as error:
            raise DecodeError(self, "missing", f"the archive {self.archive} does not exist") from error
        if status.st_size < self.start + self.size:
            raise DecodeError(
                self,
                "truncated",
                f"the archive has {status.st_size} bytes, and the video ends at {self.start + self.size}",
            )
        if self.size == 0:
            raise DecodeError(self, "empty")


class MemberFile(io.RawIOBase):
    """The bytes of a member as a binary file; reads with a descriptor of its own.

    Args:
        member: the member.
    """

    def __init__(self, member: TarMember) -> None:
        super().__init__()
        self.name = str(member)
        self._start, self._size, self._position = member.start, member.size, 0
        self._descriptor = os.open(member.archive, os.O_RDONLY)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        origins = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}
        if whence not in origins:
            raise ValueError(f"whence = {whence}: must be 0, 1 or 2")
        position = origins[whence] + offset
        if position < 0:
            raise ValueError(f"position {position}: must be 0 or more")
        self._position = position
        return position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if self.closed:
            raise ValueError("read of a closed file")
        view = memoryview(buffer).cast("B")
        count = max(min(len(view), self._size - self._position), 0)
        # Behind its end, at any position, there is nothing to read.
        content = os.pread(self._descriptor, count, self._start + self._position) if count else b""
        view[: len(content)] = content
        self._position += len(content)
        return len(content)

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def member_name(archive: str, member: str) -> str:
    """Returns the name of a member in messages and tables."""
    return f"{archive}{_SEPARATOR}{member}"


def split_member_name(name: str) -> tuple[str, str] | None:
    """Returns archive and member of a name; None for any other path.

    >>> split_member_name("data/shard-000001.tar: 000123.mp4")
    ('data/shard-000001.tar', '000123.mp4')
    """
    archive, separator, member = name.partition(_ARCHIVE_ENDING + _SEPARATOR)
    return (archive + _ARCHIVE_ENDING, member) if separator and member else None
