"""Checkpoint files: their names, how they are written, verified and read.

``OUTPUT_DIR/checkpoints/checkpoint_epoch_00003.pyth`` is the state after three epochs, as in PySlowFast;
``checkpoint_epoch_00003_step_000120.pyth`` is the state 120 steps later. Files are written atomically.
Each entry of a file has a CRC, which is checked before a run is resumed from the file. All files are read by
``torch.load(weights_only=True)``, which runs no code from the file.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from slowfast.checkpoint.state import TrainingProgress, TrainingState
from slowfast.errors import CheckpointError, first_line
from slowfast.files import FULL_DISK, atomic_write, parse_json, read_json_object, write_text
from slowfast.log import get_logger

logger = get_logger(__name__)

_NAME = re.compile(r"checkpoint_epoch_(\d+)(?:_step_(\d+))?\.pyth")

STATE_DICT_KEYS = ("model_state", "state_dict", "model_state_dict", "model")
"""Keys under which training programs save the state dict of a model: PySlowFast ``model_state``, Lightning
and timm ``state_dict``."""
_AVERAGE_KEYS = ("state_dict_ema", "model_ema")  # timm's train script, DeiT
# Dictionaries around the weights of a file; characters of an entry's name in a message.
_MOST_NESTED, _SHOWN = 8, 60
_ARCHIVE = b"PK\x03\x04"  # the first bytes by which torch tells an archive from other files


class SavedCheckpoint(NamedTuple):
    """A checkpoint file of a run, intact or damaged.

    Attributes:
        progress: of the run when the file was written.
        path: of the file.
    """

    progress: TrainingProgress
    path: Path


def checkpoint_folder(output_dir: str | Path) -> Path:
    """Returns the folder of a run's checkpoints."""
    return Path(output_dir) / "checkpoints"


def checkpoint_path(output_dir: str | Path, progress: TrainingProgress) -> Path:
    """Returns the file of the state at ``progress``."""
    step = f"_step_{progress.step:06d}" if progress.step else ""
    return checkpoint_folder(output_dir) / f"checkpoint_epoch_{progress.epoch:05d}{step}.pyth"


def list_checkpoints(output_dir: str | Path) -> list[SavedCheckpoint]:
    """Returns a run's checkpoints, intact and damaged, the latest first."""
    found = []
    for path in checkpoint_folder(output_dir).glob("checkpoint_epoch_*.pyth"):
        if match := _NAME.fullmatch(path.name):
            found.append(SavedCheckpoint(TrainingProgress(int(match[1]), int(match[2] or 0)), path))
    return sorted(found, reverse=True)


def last_checkpoint(output_dir: str | Path) -> Path | None:
    """Returns a run's latest intact checkpoint, or None without one; logs and skips damaged ones."""
    for checkpoint in list_checkpoints(output_dir):
        try:
            verify(checkpoint.path)
        except CheckpointError as error:
            logger.warning("%s; trying the previous checkpoint", error)
        else:
            return checkpoint.path
    return None


def set_aside(folder: Path) -> Path:
    """Renames a folder to the first unused name with a number at its end; returns the new path."""
    number = 1
    while (target := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    return folder.rename(target)


def verify(path: Path) -> None:
    """Raises ``CheckpointError`` unless the file is complete and all its checksums are right."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is None:
            # torch checks the structure of the archive more strictly than zipfile. With mmap it does not read
            # the weights a second time.
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged archive can raise any error
        raise CheckpointError(f"{path} is damaged: {first_line(error)}") from error
    if damaged is not None:
        raise CheckpointError(f"{path} is damaged: wrong checksum of {damaged}")


def save_checkpoint(output_dir: str | Path, state: TrainingState) -> Path:
    """Writes ``state`` to its file and returns the path.

    Raises:
        CheckpointError: if the file cannot be written; earlier checkpoints stay unchanged.
    """
    path = checkpoint_path(output_dir, state.progress)
    try:
        # An open file, because torch would name the folder in the archive after a path, here a temporary one.
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            torch.save(state.as_content(), file)
    except (OSError, RuntimeError) as error:
        # torch raises an error of its own about the position in the file over that of the disk.
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        full = isinstance(cause, OSError) and cause.errno in FULL_DISK
        reason = "the disk is full" if full else first_line(cause)
        raise CheckpointError(f"could not save {path}: {reason}; earlier checkpoints are intact") from error
    return path


def _check_archive(path: Path) -> None:
    """Raises ``CheckpointError`` for an archive that is damaged, or larger unpacked than the file is.

    torch unpacks a compressed one without a limit. Files of other kinds pass.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(_ARCHIVE)) != _ARCHIVE:
                return
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except Exception as error:  # a damaged archive can raise any error
        raise CheckpointError(f"{path} is damaged: {first_line(error)}; copy or download it again") from error
    if unpacked > path.stat().st_size:
        raise CheckpointError(
            f"{path}: is compressed and would unpack to {unpacked:,} bytes; checkpoints are not compressed"
        )


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a ``.pyth``/``.pt`` file, or the tensors of a ``.safetensors`` file, into host memory.

    Raises:
        CheckpointError: if the file does not exist, is damaged, or contains more than tensors and plain
        values.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    _check_archive(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # The message of torch advises to switch the protection off.
        remedy = "if you trust the file, save only its state_dict()"
        if path.suffix == ".pkl":
            remedy = "a .pkl file of PySlowFast's model zoo is of Caffe2: take the weights of pytorchvideo"
        raise CheckpointError(
            f"{path} cannot be read: it is not a checkpoint, or contains more than tensors and plain values, "
            f"which is never loaded because it can run code; {remedy}"
        ) from error
    except Exception as error:  # a damaged file can raise any error
        raise CheckpointError(f"{path} cannot be read: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} contains a {type(content).__name__}; must be a dictionary of weights")
    return content


def read_training_state(path: str | Path, *, weights_only: bool = False) -> TrainingState:
    """Reads the state that :func:`save_checkpoint` or PySlowFast wrote.

    Args:
        weights_only: leave all other entries at their defaults, as they are for a file without them.

    Raises:
        CheckpointError: see :func:`read_checkpoint`.
    """
    content = read_checkpoint(path)
    weights = weights_in(content, path)
    if weights_only or "epoch" not in content or content.get("optimizer_state") in (None, {}):
        return TrainingState(TrainingProgress(), weights)
    return TrainingState.from_content(content, weights, source=str(path))


def class_names_in(content: Mapping[str, Any], path: str | Path) -> tuple[str, ...]:
    """Returns the class names, in the order of the classes, that are saved in a checkpoint; may be empty.

    Args:
        content: of the file ``path``, see :func:`read_checkpoint`.
    """
    names = content.get("class_names", ())
    if Path(path).suffix == ".safetensors":  # the names are in the metadata, not among the tensors
        from safetensors import safe_open

        with safe_open(path, "pt") as file, suppress(ValueError):
            names = parse_json((file.metadata() or {}).get("class_names", "[]"))
    # Other values are not written out: nested lists of a small file may be texts without an end.
    if not isinstance(names, list | tuple) or not all(isinstance(name, str | int) for name in names):
        return ()
    return tuple(map(str, names))


def record_path(checkpoint: Path) -> Path:
    """Returns the file of the validation metrics of a checkpoint."""
    return checkpoint.with_suffix(".json")


def record_validation(checkpoint: Path, metrics: Mapping[str, float]) -> None:
    """Writes the validation metrics of a checkpoint to a json file beside it."""
    write_text(record_path(checkpoint), json.dumps(dict(metrics)) + "\n")


def recorded_validation(checkpoint: Path) -> dict[str, float] | None:
    """Returns the metrics that :func:`record_validation` wrote; None without them, and for a damaged file."""
    return read_json_object(record_path(checkpoint)) or None


def weights_in(content: Mapping[str, Any], path: str | Path, *, averaged: bool = False) -> dict[str, Tensor]:
    """Returns the state dict of the model in a checkpoint, with the names of the file.

    Args:
        content: of the file ``path``, see :func:`read_checkpoint`.
        averaged: use the moving average of each weight that has one.

    Raises:
        CheckpointError: if the file contains no weights.
    """
    if not averaged:
        return find_state_dict(content, path)
    average = content.get("ema_state")
    own = average.get("weights") if isinstance(average, Mapping) else None
    own = own if isinstance(own, Mapping) else {}
    other = next((key for key in _AVERAGE_KEYS if isinstance(content.get(key), Mapping)), None)
    logger.info(
        "%s: %s", path, "loading the averaged weights" if own or other else "it has no averaged weights"
    )
    if other is not None and not own:
        return find_state_dict(content, path, (other,))
    return {**find_state_dict(content, path), **own}


def find_state_dict(
    content: Mapping[str, Any], path: str | Path, keys: Sequence[str] = STATE_DICT_KEYS
) -> dict[str, Tensor]:
    """Returns the tensors under the first of ``keys`` in the file; keys may be nested.

    Without any of the keys, all tensors of the file are returned.

    Raises:
        CheckpointError: if it has only other values.
    """
    for _ in range(_MOST_NESTED):  # a file may contain itself
        inner = next((content[key] for key in keys if isinstance(content.get(key), Mapping)), None)
        content = content if inner is None else inner
    weights = {
        name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)
    }
    if not weights:
        names = [str(name)[:_SHOWN] for name in content if isinstance(name, str | int)]
        raise CheckpointError(f"{path} contains no weights; its entries are {', '.join(names[:5])}")
    for name, weight in weights.items():
        if weight.is_meta or weight.layout is not torch.strided:
            kind = "has no values" if weight.is_meta else f"is {weight.layout}"
            raise CheckpointError(f"{path}: its weight {name} {kind}; save it as a dense tensor")
    return weights
