"""The source of features: what identifies a video or a folder of images, and whether it has changed since.

Two rules, as no content is read:

- An extraction takes a source for another one if anything differs, also the time of the last change alone.
- A reader refuses features only if the source holds other data for certain, by its size: a data set that was
  copied to another disk has other times.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from slowfast.video.archive.member import TarMember
from slowfast.video.image_folder import is_image


def describe_source(path: str | Path) -> dict[str, Any]:
    """Returns plain values that identify a video, a member of an archive or a folder of images.

    Raises:
        OSError: where it does not exist or cannot be read.
    """
    if isinstance(path, TarMember):
        status = os.stat(path.archive)
        name = os.path.basename(path)
        return {"name": name, "bytes": path.size, "start": path.start, "mtime_ns": status.st_mtime_ns}
    return _describe_images(path) if os.path.isdir(path) else _describe_entry(path)


def is_same_source(path: str | Path, recorded: Any) -> bool:
    """Returns whether nothing differs from what :func:`describe_source` has returned.

    A folder of images is also compared as earlier versions recorded it.

    Raises:
        OSError: where the source does not exist or cannot be read.
    """
    if isinstance(recorded, dict) and "images" not in recorded and os.path.isdir(path):
        return recorded == _describe_entry(path)
    return recorded == describe_source(path)


def find_change(path: str | Path, recorded: Any) -> str:
    """Returns how a source differs for certain from what was recorded; empty for the same one or a copy.

    Empty as well where the source is not there or cannot be read, since features are read without it, and
    where nothing was recorded.
    """
    if not isinstance(recorded, dict):
        return ""
    try:
        found = {"bytes": path.size} if isinstance(path, TarMember) else describe_source(path)
    except OSError:
        return ""
    if ("images" in recorded) != ("images" in found):
        return ""  # a folder that an earlier version recorded, or other features of the same name
    for key in ("images", "bytes"):
        if key in recorded and recorded[key] != found[key]:
            return f"it has {found[key]} {key}, and had {recorded[key]}"
    return "its images have other names" if recorded.get("names") != found.get("names") else ""


def _describe_entry(path: str | Path) -> dict[str, Any]:
    """Returns name, bytes and time of the last change of a file or folder itself."""
    status = os.stat(path)
    return {"name": Path(path).name, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _describe_images(folder: str | Path) -> dict[str, Any]:
    """Returns number, bytes, a hash of the names and the newest change of all images of a folder."""
    with os.scandir(folder) as entries:
        images = sorted((e.name, e.stat()) for e in entries if is_image(e.name) and e.is_file())
    names = "\0".join(name for name, _ in images).encode(errors="surrogateescape")
    return {
        "name": Path(folder).name,
        "images": len(images),
        "bytes": sum(status.st_size for _, status in images),
        "names": hashlib.blake2b(names, digest_size=8).hexdigest(),
        "mtime_ns": max((status.st_mtime_ns for _, status in images), default=0),
    }
