"""The source of features: what identifies a video or a folder of images, and whether it has changed since.

Two rules, as no whole content is read:

- An extraction takes a file for another one if anything differs, also the time of the last change alone.
- A reader refuses features only if the source holds other data for certain: a data set that was copied to
  another disk has other times. It compares the size of a video and, only where the time is another one, a few
  blocks of its content. Of a folder it compares the names and the size of the first image, and of a member of
  an archive the size, since each file that is looked at is a request to a network disk.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from slowfast.video.archive.member import TarMember
from slowfast.video.container import open_binary
from slowfast.video.image_folder import is_image

# Blocks of a video that are compared, at its start, in its middle and at its end, and their bytes.
_BLOCKS, _BLOCK_BYTES = 3, 4096
_SAMPLE = "sample"


def describe_source(path: str | Path) -> dict[str, Any]:
    """Returns plain values that identify a video, a member of an archive or a folder of images.

    Raises:
        OSError: where it does not exist or cannot be read.
    """
    return _describe(path) | ({} if os.path.isdir(path) else {_SAMPLE: _sample(path)})


def is_same_source(path: str | Path, recorded: Any) -> bool:
    """Returns whether nothing differs from what :func:`describe_source` has returned.

    A file and a copy of it in an archive, or two such copies, have no time and place in common: their size
    and blocks of their content are compared.

    Raises:
        OSError: where the source does not exist or cannot be read.
    """
    if not isinstance(recorded, dict):
        return False
    found, known = _describe(path), {key: value for key, value in recorded.items() if key != _SAMPLE}
    if found == known or not ("start" in found or "start" in known):
        return found == known
    return found.get("bytes") == known.get("bytes") and recorded.get(_SAMPLE) == (_sample(path) or None)


def _describe(path: str | Path) -> dict[str, Any]:
    if isinstance(path, TarMember):
        status = os.stat(path.archive)
        name = os.path.basename(path)
        return {"name": name, "bytes": path.size, "start": path.start, "mtime_ns": status.st_mtime_ns}
    return _describe_images(path) if os.path.isdir(path) else _describe_entry(path)


def find_change(path: str | Path, recorded: Any) -> str:
    """Returns how a source differs for certain from what was recorded; empty for the same one or a copy.

    Empty as well where the source is not there or cannot be read, since features are read without it, and
    where nothing was recorded.
    """
    if not isinstance(recorded, dict):
        return ""
    try:
        found = _glance(path)
    except OSError:
        return ""
    if ("images" in recorded) != ("images" in found):
        return ""
    if recorded.get("images") == found.get("images") and recorded.get("names") != found.get("names"):
        return "its images have other names"
    for key, unit in (("images", "images"), ("first_bytes", "bytes in its first image"), ("bytes", "bytes")):
        if key in recorded and key in found and recorded[key] != found[key]:
            return f"it has {found[key]} {unit}, and had {recorded[key]}"
    has_other_time = "mtime_ns" in found and found["mtime_ns"] != recorded.get("mtime_ns")
    known = recorded.get(_SAMPLE)
    if has_other_time and known and _sample(path) not in ("", known):
        return "it has other content, and had as many bytes"
    return ""


def _glance(path: str | Path) -> dict[str, Any]:
    """Returns what tells sources apart and costs little: of a folder, one file is looked at, not each."""
    if isinstance(path, TarMember):
        return {"bytes": path.size}
    if not os.path.isdir(path):
        return _describe_entry(path)
    images = _list_images(path)
    return {**_describe_names(images), "first_bytes": images[0].stat().st_size if images else 0}


def _sample(path: str | Path) -> str:
    """Returns a hash of a few blocks of a video; empty where it cannot be read."""
    digest = hashlib.blake2b(digest_size=8)
    try:
        with open_binary(path) as file:
            size = file.seek(0, os.SEEK_END)
            for block in range(_BLOCKS):
                file.seek(max(size - _BLOCK_BYTES, 0) * block // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK_BYTES))
    except OSError:
        return ""
    return digest.hexdigest()


def _describe_entry(path: str | Path) -> dict[str, Any]:
    """Returns name, bytes and time of the last change of a file or folder itself."""
    status = os.stat(path)
    return {"name": Path(path).name, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _describe_images(folder: str | Path) -> dict[str, Any]:
    """Returns number, names, bytes and the newest change of all images of a folder."""
    images = _list_images(folder)
    found = [image.stat() for image in images]
    return {
        "name": Path(folder).name,
        **_describe_names(images),
        "first_bytes": found[0].st_size if found else 0,
        "bytes": sum(status.st_size for status in found),
        "mtime_ns": max((status.st_mtime_ns for status in found), default=0),
    }


def _list_images(folder: str | Path) -> list[os.DirEntry[str]]:
    """Returns the images of a folder in the order of their names."""
    with os.scandir(folder) as entries:
        return sorted(
            (entry for entry in entries if is_image(entry.name) and entry.is_file()), key=attrgetter("name")
        )


def _describe_names(images: Sequence[os.DirEntry[str]]) -> dict[str, Any]:
    """Returns the number of images and a hash of their names."""
    names = "\0".join(image.name for image in images).encode(errors="surrogateescape")
    return {"images": len(images), "names": hashlib.blake2b(names, digest_size=8).hexdigest()}
