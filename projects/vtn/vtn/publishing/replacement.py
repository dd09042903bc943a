"""Replacement of an earlier publication of the same name, without the loss of files that are not its own.

A record beside the published files has their names and SHA-256. By it the next publication knows which files
the earlier one wrote; of these, it removes those that are unchanged. All files are written in a
folder of their own first, so that an error, such as a full disk, leaves the earlier publication as it was.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.constants import CONFIG_NAME

from slowfast.files import read_json_object, write_text
from vtn.publishing.zoo import file_sha256

_STAGING_MARK = ".publishing-"
_STAGED = re.compile(rf"\.[^/\\]*{re.escape(_STAGING_MARK)}[^/\\]*([/\\]|$)")
_CARD_NAME = "README.md"


@contextmanager
def staging_folder(folder: Path, name: str) -> Iterator[Path]:
    """Yields a new folder in ``folder``, for :func:`install`; it is removed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    prefix = f".{name}{_STAGING_MARK}"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder, ignore_cleanup_errors=True) as staged:
        yield Path(staged)


def without_staging(text: str) -> str:
    """Returns a message about a staged file with the path that the file was to get.

    >>> without_staging("out/.MINE.publishing-x1/MINE/config.json: cannot be written")
    'out/MINE/config.json: cannot be written'
    """
    return _STAGED.sub("", text)


def install(staged: Path, name: str, *, kept: Path) -> None:
    """Moves all files of a staging folder to the folder around it, and removes those of before.

    A model card that the user has written or edited stays. ``config.json`` comes last, since a folder whose
    configuration does not belong to its weights is refused when it is loaded.

    Args:
        staged: of :func:`staging_folder`.
        name: of the publication.
        kept: a file that is not removed in any case: the one that was published.
    """
    folder = staged.parent
    earlier = _read_record(folder, name)
    paths = [path for path in staged.rglob("*") if path.is_file()]
    new = {path.relative_to(staged).as_posix(): file_sha256(path) for path in paths}
    for file in [file for file in new if file.endswith(f"/{_CARD_NAME}")]:
        if (folder / file).exists() and not _is_unchanged(folder / file, earlier.get(file)):
            del new[file]
    # Whatever happens from now on, the next publication finds the files of both.
    _write_record(folder, name, {**earlier, **new})
    for file in sorted(new, key=lambda file: file.endswith(f"/{CONFIG_NAME}")):
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged / file, target)
    for file, sha256 in earlier.items():
        path = folder / file
        if file not in new and path.resolve() != kept.resolve() and _is_unchanged(path, sha256):
            path.unlink()
    _write_record(folder, name, new)


def _is_unchanged(path: Path, sha256: str | None) -> bool:
    return sha256 is not None and path.is_file() and not path.is_symlink() and file_sha256(path) == sha256


def _record_path(folder: Path, name: str) -> Path:
    return folder / f".{name}.published.json"


def _read_record(folder: Path, name: str) -> dict[str, str]:
    """Returns file -> SHA-256 of the earlier publication, of files that a publication can have written."""
    files = read_json_object(_record_path(folder, name)).get("files")
    if not isinstance(files, dict):
        return {}
    # The record may have come with files from elsewhere; nothing outside the publication is removed for it.
    own = re.compile(rf"{re.escape(name)}(-[0-9a-f]{{8}}\.pyth|/[\w-][\w.-]*)")
    return {file: str(sha256) for file, sha256 in files.items() if own.fullmatch(file)}


def _write_record(folder: Path, name: str, files: Mapping[str, str]) -> None:
    content = {"files": dict(sorted(files.items()))}
    write_text(_record_path(folder, name), json.dumps(content, indent=2) + "\n")
