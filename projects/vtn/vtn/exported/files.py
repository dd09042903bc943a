"""The files of an exported model: one for all, or its two parts in one folder."""

from __future__ import annotations

from pathlib import Path

from slowfast.errors import CheckpointError
from vtn.exported.description import BACKBONE, ENCODER, MODEL
from vtn.exported.programs import ONNX, TORCH_EXPORT

SUFFIXES = (ONNX, TORCH_EXPORT)
INT8 = ".int8"
"""Stands before the suffix of a quantised file: ``encoder.int8.onnx``."""


def is_exported(source: str | Path) -> bool:
    """Returns whether a path is an exported file, or a folder with exported files and no published model."""
    path = Path(source)
    if path.suffix in SUFFIXES:
        return path.is_file()
    return path.is_dir() and not (path / "config.json").is_file() and bool(_in_folder(path))


def choose_file(source: str | Path) -> Path:
    """Returns the exported file of a path: the file itself; of a folder the model, or its encoder.

    Quantised files are chosen by their own name only.

    Raises:
        CheckpointError: for a folder with several models.
    """
    path = Path(source)
    if not path.is_dir():
        return path
    found = _in_folder(path)
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise CheckpointError(f"{path}: holds several exported models ({names}); give one of these files")
    return found[0]


def find_other_part(path: Path, part: str, part_of: str) -> Path:
    """Returns the file with the other part of a model, which stands beside the first.

    Args:
        path: the file with the first part.
        part: of the first file, ``backbone`` or ``encoder``.
        part_of: name of the model, for messages.

    Raises:
        CheckpointError: where it is missing.
    """
    other = ENCODER if part == BACKBONE else BACKBONE
    expected = f"{other}{''.join(path.suffixes)}"
    if part in path.name:
        expected = path.name.replace(part, other, 1)
        if (beside := path.with_name(expected)).is_file():
            return beside
    raise CheckpointError(
        f"{path}: is only the {part} of {part_of}; put {expected} beside it, from the same export with "
        "--parts backbone encoder"
    )


def _in_folder(folder: Path) -> list[Path]:
    names = [f"{part}{suffix}" for suffix in SUFFIXES for part in (MODEL, ENCODER)]
    return [folder / name for name in names if (folder / name).is_file()]
