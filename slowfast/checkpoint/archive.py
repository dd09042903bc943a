"""A check of archives of weights before they are read: torch unpacks a compressed one without a limit."""

from __future__ import annotations

import zipfile
from pathlib import Path

from slowfast.errors import CheckpointError, first_line


def check_archive(path: str | Path) -> None:
    """Raises ``CheckpointError`` for an archive that is damaged, or larger unpacked than the file is.

    Files of other kinds pass.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except Exception as error:  # a damaged archive can raise any error
        raise CheckpointError(f"{path} is damaged: {first_line(error)}; copy or download it again") from error
    if unpacked > Path(path).stat().st_size:
        raise CheckpointError(
            f"{path}: is compressed and would unpack to {unpacked:,} bytes; checkpoints are not compressed"
        )
