"""Publication of a training checkpoint: weights together with all that is needed to apply them.

Two things are written: ``NAME-<first 8 digits of its SHA-256>.pyth``, a file that is accepted wherever
weights are named, and, for the models of this project, a folder ``NAME`` in the form of the Hugging Face hub.
Both hold class names, the normalisation of frames and a hash of the weights. Of the configuration, only the
keys of the model and of its evaluation are kept, so that no path of the computer that trained is published.
The optimiser's state and the progress of training are left out.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE

from slowfast.checkpoint.storage import read_checkpoint
from slowfast.config import load_config
from slowfast.config.defaults import project_sections
from slowfast.config.values import flatten
from slowfast.datasets.class_names import named_classes
from slowfast.errors import CheckpointError, InputError
from slowfast.files import FULL_DISK
from slowfast.registry import import_user_modules
from vtn.folder.untrusted import NOTHING_TO_RUN, check_backbone, read_config_text
from vtn.hub import HubModel, find_registered_model, is_built_from_groups
from vtn.publishing.checkpoint import build_trained_model, write_checkpoint
from vtn.publishing.replacement import install, staging_folder, without_staging

_HUB_NAME = re.compile(r"[\w-]+:[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Published:
    """The files that :func:`publish` has written.

    Attributes:
        checkpoint: the ``.pyth`` file.
        sha256: SHA-256 of that file, in hexadecimal.
        folder: the folder in the form of the hub; None for models that it cannot describe.
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
    imports: Sequence[str] = (),
    backbone: str = "",
) -> Published:
    """Writes a checkpoint in the forms in which other users can load it.

    An earlier publication of the same name is replaced as a whole; files that it did not write, or that were
    changed since, stay, as does a model card that was edited.

    Args:
        checkpoint: checkpoint of a training run, or any file of weights.
        output: folder to write to; made where it is missing.
        name: name of the file and of the folder; empty: the name of the checkpoint.
        config: name or file of a configuration; empty: the one in the checkpoint.
        class_names_path: json file of class name -> index; empty: the names in the checkpoint.
        imports: modules or Python files that register parts of the model. A checkpoint never imports any by
            itself.
        backbone: replaces the name of the backbone, where its description lies in a folder or on a hub.

    Raises:
        CheckpointError: where the checkpoint has no configuration and none is given, where it does not fit
            the configuration, where it would be overwritten, where the folder cannot be written, and where
            the configuration of the model names a path of this computer.
        ConfigError: where the configuration is wrong.
        InputError: for a name that leads out of ``output``.
    """
    _check_file(checkpoint)
    if ".." in Path(name).parts:
        raise InputError(f"name (--name) {name!r}: must name a folder in {output}, without '..'")
    content = read_checkpoint(checkpoint)
    import_user_modules(imports)
    cfg = _load_configuration(config, content, checkpoint, backbone)
    find_registered_model(cfg.MODEL.MODEL_NAME, str(checkpoint))
    model = build_trained_model(cfg, content, checkpoint)
    names = named_classes(class_names_path, cfg.MODEL.NUM_CLASSES) or model.class_names
    model.class_names = names if len(names) == cfg.MODEL.NUM_CLASSES else ()
    place = Path(output, name or Path(checkpoint).stem)  # a name may contain folders
    folder = place if isinstance(model, HubModel) and is_built_from_groups(model) else None
    if folder and (folder / SAFETENSORS_SINGLE_FILE).resolve() == Path(checkpoint).resolve():
        raise CheckpointError(f"{checkpoint}: would be overwritten; give another name (--name) or folder")
    with _explained_write_errors(Path(output)), staging_folder(place.parent, place.name) as staged:
        file, sha256 = write_checkpoint(model, cfg.dump(), staged, place.name)
        if folder:
            model.save_pretrained(staged / place.name)
        install(staged, place.name, kept=Path(checkpoint))
    return Published(place.with_name(file), sha256, folder, model.class_names)


def _check_file(checkpoint: str | Path) -> None:
    if Path(checkpoint).is_dir():
        published = " that is already published" if Path(checkpoint, CONFIG_NAME).is_file() else ""
        raise CheckpointError(
            f"{checkpoint}: is a folder{published}; give a checkpoint (.pyth), or weights such as its "
            "model.safetensors and their configuration (--cfg)"
        )


def _load_configuration(
    config: str | Path, content: Mapping[str, Any], checkpoint: str | Path, backbone: str
) -> CfgNode:
    """Returns the parts of the given configuration, or of the checkpoint's own, that others need.

    All other keys have their defaults: a configuration names paths of the computer that trained in many keys.

    Raises:
        CheckpointError: without a configuration, and where one of these parts names a path.
    """
    if config:
        source, text = str(config), load_config(config, NOTHING_TO_RUN).dump()
    elif isinstance(content.get("cfg"), str) and content["cfg"]:
        source, text = str(checkpoint), content["cfg"]
    else:
        raise CheckpointError(
            f"{checkpoint}: holds no configuration; give the one that it was trained with (--cfg)"
        )
    cfg = read_config_text(text, source, backbone=backbone, sections=project_sections())
    _check_paths(cfg, source, backbone)
    if name := cfg.VTN.BACKBONE.NAME:
        # The user has chosen a configuration that --cfg names, but maybe not what a checkpoint contains.
        check_backbone(name, cfg.VTN.BACKBONE.ARGS, source=source, allowed=name if config else backbone)
    return cfg


def _check_paths(cfg: CfgNode, source: str, backbone: str) -> None:
    """Raises ``CheckpointError`` for a path in a configuration, except in ``backbone``, the user's choice."""
    for key, value in flatten(cfg).items():
        texts = value if isinstance(value, list | tuple) else [value]
        if not any(isinstance(text, str) and set(text) & set("/\\") for text in texts):
            continue
        if key != "VTN.BACKBONE.NAME":
            raise CheckpointError(
                f"{source}: {key} = {value!r}: names a path of this computer, which is not published; give a "
                "configuration without it (--cfg)"
            )
        is_on_hub = _HUB_NAME.fullmatch(value) and not Path(value.partition(":")[2]).exists()
        if value != backbone and not is_on_hub:
            raise CheckpointError(
                f"{source}: {key} = {value!r}: names a folder of this computer, which is not published; give "
                "its name on the hub, such as --backbone hf:OWNER/NAME, or write --backbone with the folder"
            )


@contextmanager
def _explained_write_errors(output: Path) -> Iterator[None]:
    """Turns a write error of the system, or of torch, into one that names the file and a remedy.

    Raises:
        CheckpointError: in place of the error.
    """
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(without_staging(str(error))) from error
    except (OSError, RuntimeError) as error:
        # torch reports a failed write as a RuntimeError about positions in the file.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        where = Path(without_staging(str(cause.filename or output)))
        remedy = "make room there, or " if cause.errno in (*FULL_DISK, errno.EFBIG) else ""
        raise CheckpointError(
            f"{where}: cannot be written ({cause.strerror or cause}); {remedy}give another folder"
        ) from error
