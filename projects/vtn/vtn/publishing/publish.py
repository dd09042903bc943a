"""Publication of a training checkpoint: weights together with all that is needed to apply them.

Two things are written: ``NAME-<first 8 digits of its SHA-256>.pyth``, a file that is accepted wherever
weights are named, and, for the models of this project, a folder ``NAME`` in the form of the Hugging Face hub.
Both hold class names, the normalisation of frames and a hash of the weights. The optimiser's state, the paths
of the computer that trained and the progress of training are left out.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slowfast.errors import CheckpointError

if TYPE_CHECKING:
    from fvcore.common.config import CfgNode

# Keys that hold paths of the computer that trained; published with their default values.
LOCAL_KEYS = (
    "DATA.PATH_TO_DATA_DIR",
    "DATA.PATH_PREFIX",
    "DATA.FEATURES",
    "VTN.BACKBONE.CHECKPOINT",
    "VTN.LONGFORMER.CHECKPOINT",
    "OUTPUT_DIR",
    "TRAIN.CHECKPOINT_FILE_PATH",
    "TEST.CHECKPOINT_FILE_PATH",
    "DATA.CLASS_NAMES",
    "TENSORBOARD.LOG_DIR",
)


@dataclass(frozen=True)
class Published:
    """The files that :func:`publish` has written.

    Attributes:
        checkpoint: the ``.pyth`` file.
        sha256: SHA-256 of that file, in hexadecimal.
        folder: the folder in the form of the hub; None for models that are not this project's.
        class_names: the class names stored in both; empty where the checkpoint has none and none were given.
    """

    checkpoint: Path
    sha256: str
    folder: Path | None
    class_names: tuple[str, ...]


def publish(
    checkpoint: str | Path,
    output: str | Path,
    *,
    name: str = "",
    config: str | Path = "",
    class_names_path: str | Path = "",
) -> Published:
    """Writes a checkpoint in the forms in which other users can load it.

    Args:
        checkpoint: checkpoint of a training run, or any file of weights.
        output: folder to write to; made where it is missing.
        name: name of the file and of the folder; empty: the name of the checkpoint.
        config: name or file of a configuration; empty: the one in the checkpoint.
        class_names_path: json file of class name -> index; empty: the names in the checkpoint.

    Raises:
        CheckpointError: where the checkpoint has no configuration and none is given, where it does not fit
            the configuration, where it would be overwritten, and where the folder cannot be written.
        ConfigError: where the configuration is wrong.
    """
    from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE

    from slowfast.checkpoint.storage import class_names_in, read_checkpoint, weights_in
    from slowfast.checkpoint.weights import load_weights
    from slowfast.datasets.class_names import named_classes
    from slowfast.models.build import build_model
    from slowfast.models.frame_format import adopt_frame_format, frame_normalization
    from slowfast.models.weights_hash import weights_hash
    from slowfast.solver.ema import evaluates_average
    from vtn.arguments.evaluation import build_evaluation
    from vtn.hub import HubModel

    content = read_checkpoint(checkpoint)
    cfg = _load_configuration(config, content, checkpoint)
    model: Any = build_model(cfg, fetch_weights=False)
    weights = weights_in(content, checkpoint, averaged=evaluates_average(cfg))
    load_weights(model, weights, source=str(checkpoint))

    names = named_classes(class_names_path, cfg.MODEL.NUM_CLASSES) or class_names_in(content, checkpoint)
    if len(names) != cfg.MODEL.NUM_CLASSES:
        names = ()
    mean, std = frame_normalization(cfg, model)
    model.class_names, model.frame_mean, model.frame_std = names, mean, std
    model.evaluation = build_evaluation(adopt_frame_format(cfg, model))

    output, name = Path(output), name or Path(checkpoint).stem
    folder = output / name if isinstance(model, HubModel) else None
    if folder and (folder / SAFETENSORS_SINGLE_FILE).resolve() == Path(checkpoint).resolve():
        raise CheckpointError(f"{checkpoint}: would be overwritten; give another name (--name) or folder")
    published = {
        "model_state": model.state_dict(),
        "cfg": cfg.dump(),
        "class_names": list(names),
        "normalization": {"mean": list(mean), "std": list(std)},
        "weights_digest": weights_hash(model),
    }
    with _explained_write_errors(output):
        path, sha256 = _write_checkpoint(published, output, name)
        if folder:
            model.save_pretrained(folder)
    return Published(path, sha256, folder, names)


def _load_configuration(config: str | Path, content: Mapping[str, Any], checkpoint: str | Path) -> CfgNode:
    """Returns the given configuration or the checkpoint's own, with ``LOCAL_KEYS`` at their defaults."""
    from slowfast.config import load_config
    from slowfast.config.defaults import get_default_config

    nothing_to_run = ["TRAIN.ENABLE", "False", "TEST.ENABLE", "False"]
    if config:
        cfg = load_config(config, nothing_to_run)
    elif isinstance(content.get("cfg"), str) and content["cfg"]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, f"{Path(checkpoint).name}.yaml")
            file.write_text(content["cfg"], encoding="utf-8")
            cfg = load_config(file, nothing_to_run)
    else:
        raise CheckpointError(
            f"{checkpoint}: holds no configuration; give the one that it was trained with (--cfg)"
        )
    cfg = cfg.clone()
    cfg.defrost()
    defaults = get_default_config()
    for key in ("TRAIN.ENABLE", "TEST.ENABLE", *LOCAL_KEYS):
        *sections, leaf = key.split(".")
        source, target = (reduce(getitem, sections, node) for node in (defaults, cfg))
        target[leaf] = source[leaf]
    cfg.freeze()
    return cfg


def _write_checkpoint(content: Mapping[str, Any], output: Path, name: str) -> tuple[Path, str]:
    """Writes the ``.pyth`` file, whose name ends with its own hash; returns its path and SHA-256.

    Until the hash is known, the file has a name that only this process uses: ``NAME.pyth`` may be another
    file of the user, or in the checkpoint's own folder the checkpoint itself.
    """
    import torch

    from slowfast import __version__
    from slowfast.files import TEMPORARY_MARK, atomic_write
    from vtn.publishing.zoo import file_sha256

    folder, stem = (output / name).parent, Path(name).name
    folder.mkdir(parents=True, exist_ok=True)
    unnamed = folder / f".{stem}{TEMPORARY_MARK}{os.getpid()}-unnamed.pyth"
    try:
        # Given a path, torch would store the file's temporary name inside the archive, and the hash would
        # depend on it.
        with unnamed.open("wb") as file:
            torch.save({**content, "version": __version__}, file)
        sha256 = file_sha256(unnamed)
        path = folder / f"{stem}-{sha256[:8]}.pyth"
        with atomic_write(path) as temporary:
            os.replace(unnamed, temporary)
    finally:
        unnamed.unlink(missing_ok=True)
    return path, sha256


@contextmanager
def _explained_write_errors(output: Path) -> Iterator[None]:
    """Turns a write error of the system, or of torch, into one that names the file and a remedy.

    Raises:
        CheckpointError: in place of the error.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        # torch reports a failed write as a RuntimeError about positions in the file.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        where = cause.filename or output
        raise CheckpointError(
            f"{where}: cannot be written ({cause.strerror or cause}); make room there or give another folder"
        ) from error
