"""The members of a tar archive: names and byte ranges, read from the headers alone.

``tarfile`` ends silently at a header that is damaged or cut off, as it does at the end of the archive. Here
either is an error, because videos behind it would be left out without a word.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from slowfast.video.archive.member import TarMember, split_member_name

_BLOCK = tarfile.BLOCKSIZE
# First bytes of a compressed file -> how it is unpacked.
_COMPRESSIONS = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ\x00": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
    b"\x04\x22\x4d\x18": "unlz4",
}


class TarError(ValueError):
    """An archive that cannot be read as a whole; the message is the end of a sentence about it."""


class TarEntry(NamedTuple):
    """A regular file in an archive.

    Attributes:
        name: of the member.
        start, size: first byte and number of bytes of its content.
    """

    name: str
    start: int
    size: int


def scan_tar(path: str) -> Iterator[TarEntry]:
    """Yields the regular files of an archive in their order; folders are left out.

    Raises:
        TarError: for a compressed or damaged archive, one that is cut off, and a member that is a link.
        OSError: where the file cannot be read.
    """
    with open(path, "rb") as file:
        _refuse_compression(file.read(8))
        file.seek(0)
        size = os.fstat(file.fileno()).st_size
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for info in archive:
                    if info.size < 0:  # the next header would be an earlier one, again and again
                        raise TarError(f"is damaged at {info.name}, whose size is {info.size} bytes")
                    if info.offset_data + info.size > size:
                        raise TarError(f"is cut off inside {info.name}: it has {size} bytes")
                    if info.isreg() and not info.issparse():
                        yield TarEntry(info.name, info.offset_data, info.size)
                    elif not info.isdir():
                        raise TarError(f"contains {info.name}, which must be a regular file, not a link")
                end = archive.offset
        except TarError:
            raise
        except (tarfile.TarError, ValueError, OverflowError, MemoryError, RecursionError) as error:
            # `tarfile` trusts the sizes of extended headers, and follows these by recursion.
            raise TarError(f"is not a complete tar archive ({str(error) or type(error).__name__})") from error
        file.seek(end)
        if file.read(_BLOCK) != bytes(_BLOCK):
            raise TarError(
                f"is cut off or damaged at byte {end} of {size}, where a header or the end mark must be"
            )


def find_member(name: str) -> str:
    """Returns the member that a name such as ``shard-000001.tar: 000123.mp4`` stands for.

    Any other path is returned as it is, and so is the name of a member that cannot be found: opening it
    reports that it is missing.
    """
    if isinstance(name, TarMember) or (parts := split_member_name(name)) is None or os.path.exists(name):
        return name
    with suppress(TarError, OSError):
        for entry in scan_tar(parts[0]):
            if entry.name == parts[1]:
                return TarMember.at(parts[0], *entry)
    return name


def _refuse_compression(first_bytes: bytes) -> None:
    for start, command in _COMPRESSIONS.items():
        if first_bytes.startswith(start):
            raise TarError(
                f"is compressed, so that its members cannot be read one by one; unpack it with {command} "
                "(videos are compressed already, and the archive hardly grows)"
            )
