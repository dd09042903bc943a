"""Checkpoints: what a run needs to go on exactly where it was, and the weights of a model.

``OUTPUT_DIR/checkpoints/checkpoint_epoch_00003.pyth`` is the state after three epochs, as in PySlowFast;
``checkpoint_epoch_00003_step_000120.pyth`` the state 120 steps into the fourth. Files are written
atomically, and each entry of such a file has a CRC, which is checked before a run continues from it.
Everything is read by ``torch.load(weights_only=True)``, which runs no code from the file.
"""

from __future__ import annotations

import errno
import json
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slowfast.checkpoint.state import TrainingProgress, TrainingState
from slowfast.errors import CheckpointError
from slowfast.files import atomic_write, write_text
from slowfast.log import get_logger

logger = get_logger(__name__)

_NAME = re.compile(r"checkpoint_epoch_(\d+)(?:_step_(\d+))?\.pyth")


def checkpoint_folder(output_dir: str | Path) -> Path:
    """The folder of a run's checkpoints."""
    return Path(output_dir) / "checkpoints"


def checkpoint_path(output_dir: str | Path, position: TrainingProgress) -> Path:
    """The file of the state at ``position``."""
    step = f"_step_{position.step:06d}" if position.step else ""
    return checkpoint_folder(output_dir) / f"checkpoint_epoch_{position.epoch:05d}{step}.pyth"


def list_checkpoints(output_dir: str | Path) -> list[tuple[TrainingProgress, Path]]:
    """Returns a run's checkpoints, the furthest first, good and damaged."""
    found = []
    for path in checkpoint_folder(output_dir).glob("checkpoint_epoch_*.pyth"):
        if match := _NAME.fullmatch(path.name):
            found.append((TrainingProgress(int(match[1]), int(match[2] or 0)), path))
    return sorted(found, reverse=True)


def good_checkpoints(output_dir: str | Path) -> Iterator[Path]:
    """Yields a run's undamaged checkpoints, the furthest first; a damaged one is reported and skipped."""
    for _, path in list_checkpoints(output_dir):
        try:
            verify(path)
        except CheckpointError as error:
            logger.warning("%s; trying the one before it", error)
            continue
        yield path


def last_checkpoint(output_dir: str | Path) -> Path | None:
    """Returns a run's furthest undamaged checkpoint, None when there is none."""
    return next(good_checkpoints(output_dir), None)


def verify(path: Path) -> None:
    """Raises ``CheckpointError`` unless the file is complete and all its checksums are right."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is None:
            # torch is stricter about the archive's structure; mapped, the weights are not read again.
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged archive can fail in any way
        raise CheckpointError(f"{path} is damaged: {_first_line(error)}") from error
    if damaged is not None:
        raise CheckpointError(f"{path} is damaged: wrong checksum of {damaged}")


def save_checkpoint(output_dir: str | Path, state: TrainingState) -> Path:
    """Writes ``state`` to its place and returns the path.

    Raises:
        CheckpointError: when it cannot be written; older checkpoints are untouched.
    """
    path = checkpoint_path(output_dir, state.position)
    content = {
        # PySlowFast counts the last finished epoch from 0 and continues with the one after it.
        "epoch": state.position.epoch - 1,
        "step": state.position.step,
        "model_state": state.model_state,
        "optimizer_state": state.optimizer_state,
        "scaler_state": state.scaler_state,
        "cfg": state.config,
        "seed": state.seed,
        "global_batch": state.global_batch,
        "data_fingerprint": state.data_fingerprint,
        "class_names": list(state.class_names),
        "lr_scale": state.lr_scale,
    }
    if state.average_state:
        content["ema_state"] = state.average_state
    try:
        # From a path torch would take the archive's inner name, and that is the temporary one.
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:
        # torch's writer turns a full disk into a RuntimeError.
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        reason = "the disk is full" if full else _first_line(error)
        raise CheckpointError(f"could not save {path}: {reason}; earlier checkpoints are intact") from error
    return path


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a ``.pyth``/``.pt`` file or the tensors of a ``.safetensors`` file to host memory.

    Raises:
        CheckpointError: when there is no such file, it is damaged, or it holds more than plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own words advise to switch the protection off.
        raise CheckpointError(
            f"{path} cannot be read: it is no checkpoint, or holds more than tensors and plain values, which "
            "is never loaded because it can run code; where you trust its source, save its state_dict() alone"
        ) from error
    except Exception as error:  # a damaged file can fail in any way
        raise CheckpointError(f"{path} cannot be read: {_first_line(error)}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a dictionary of weights")
    return content


def read_training_state(path: str | Path) -> TrainingState | None:
    """Reads what :func:`save_checkpoint` (or PySlowFast) wrote; None when the file holds weights alone."""
    content = read_checkpoint(path)
    if "epoch" not in content or "optimizer_state" not in content:
        return None
    return TrainingState(
        position=TrainingProgress(int(content["epoch"]) + 1, int(content.get("step", 0))),
        model_state=weights_in(content, path),
        optimizer_state=content["optimizer_state"],
        scaler_state=content.get("scaler_state", {}),
        config=content.get("cfg", ""),
        seed=content.get("seed", -1),
        global_batch=content.get("global_batch", 0),
        data_fingerprint=content.get("data_fingerprint", ""),
        class_names=tuple(content.get("class_names", ())),
        lr_scale=content.get("lr_scale", 1.0),
        average_state=content.get("ema_state", {}),
    )


def class_names_in(content: Mapping[str, Any], path: str | Path) -> tuple[str, ...]:
    """The class names, in the order of the classes, in what :func:`read_checkpoint` read from ``path``."""
    if Path(path).suffix == ".safetensors":  # they stand beside the tensors
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            return tuple(json.loads((file.metadata() or {}).get("class_names", "[]")))
    names = content.get("class_names", ())
    return tuple(map(str, names)) if isinstance(names, list | tuple) else ()


def record_validation(checkpoint: Path, figures: Mapping[str, float]) -> None:
    """Notes the validation figures of a checkpoint in a json file beside it."""
    write_text(checkpoint.with_suffix(".json"), json.dumps(dict(figures)) + "\n")


def recorded_validation(checkpoint: Path) -> dict[str, float] | None:
    """Returns what :func:`record_validation` noted, None when that checkpoint was not validated."""
    try:
        return json.loads(checkpoint.with_suffix(".json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def weights_in(content: Mapping[str, Any], path: str | Path, *, averaged: bool = False) -> dict[str, Tensor]:
    """The state dict in what :func:`read_checkpoint` read from ``path``.

    Args:
        averaged: with the moving average of all weights that have one.

    Raises:
        CheckpointError: when there is none in it.
    """
    if averaged:
        averages = content.get("ema_state", {}).get("weights", {})
        logger.info("%s: its %s weights are taken", path, "averaged" if averages else "ordinary (and only)")
        return {**weights_in(content, path), **averages}
    for key in ("model_state", "state_dict", "model"):
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path} holds no weights; it has {', '.join(map(str, list(content)[:5]))}")
    # A model saved from inside its data-parallel wrapper has this before every name.
    if all(name.startswith("module.") for name in content):
        return {name.removeprefix("module."): value for name, value in content.items()}
    return dict(content)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
