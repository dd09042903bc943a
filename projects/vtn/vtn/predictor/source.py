"""Sources of models: a published folder, a name on the Hugging Face hub, a checkpoint, or an exported file.

Everything that belongs to the weights travels with them: class names, normalisation and sampling of frames.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE

from slowfast.checkpoint.storage import read_checkpoint, weights_in
from slowfast.config import load_config
from slowfast.config.load import find_config
from slowfast.datasets.video_folder import VIDEO_SUFFIXES
from slowfast.errors import CheckpointError, ConfigError, InputError
from slowfast.models.frame_format import adopt_frame_format
from slowfast.registry import import_user_modules
from slowfast.solver.ema import evaluates_average
from vtn.arguments.evaluation import build_evaluation
from vtn.arguments.model_arguments import ModelArguments
from vtn.backbones.frames.trial import without_training
from vtn.backbones.hub_access import find_file
from vtn.exported.files import is_exported
from vtn.exported.model import load_exported
from vtn.factory import HUB_NAME, find_model_class, read_published
from vtn.folder.model_size import check_arguments
from vtn.folder.untrusted import (
    NOTHING_TO_RUN,
    check_backbone,
    count_safetensors,
    count_stored,
    read_config_text,
)
from vtn.hub import read_arguments
from vtn.publishing.checkpoint import build_trained_model
from vtn.publishing.zoo import find_zoo_entry


def load_source(
    source: str | Path,
    *,
    config: str | Path = "",
    imports: Sequence[str] = (),
    backbone: str = "",
    trust_code: bool = False,
) -> Any:
    """Returns the model of a source in evaluation mode, with ``class_names`` and ``evaluation``.

    Args:
        source: path of a folder that ``vtn publish`` or ``save_pretrained`` wrote, ``OWNER/NAME`` of such a
            folder on the hub, the path of a checkpoint, or a file or folder that ``vtn export`` wrote.
        config: name or path of a configuration, for weights that come without one.
        imports: modules or Python files that register the model or its parts. A file of weights never
            imports any by itself.
        backbone: name of the backbone, where its description lies in a folder or on a hub.
        trust_code: whether an archive of torch.export may be opened, which can run code.

    Raises:
        CheckpointError: for a source that does not exist, is damaged, or must not be acted on.
        ConfigError, ModelError: for a model that cannot be built.
        InputError: for another object, and for a configuration, modules or a backbone beside an exported
            file, which needs none.
    """
    if not isinstance(source, str | os.PathLike):
        raise InputError(
            f"source is a {type(source).__name__}: must be a path, OWNER/NAME of a model on the hub, or a "
            "model of this package: one of transformers has it as .vtn, DataParallel and DDP as .module, and "
            "torch.compile as ._orig_mod"
        )
    path = Path(source)
    if is_exported(path):
        if config or imports or backbone:
            raise InputError(
                f"{source}: is an exported model, which takes no --cfg, --imports or --backbone (in Python: "
                "config, imports, backbone)"
            )
        return load_exported(path, trust_code=trust_code)
    import_user_modules(imports)
    with without_training():
        return _load_trained(source, config, backbone)


def _load_trained(source: str | Path, config: str | Path, backbone: str) -> Any:
    """Returns the model of a folder, checkpoint or name on the hub."""
    path = Path(source)
    if path.is_dir():
        return _load_folder(path, path / CONFIG_NAME, path / SAFETENSORS_SINGLE_FILE, config, backbone)
    if path.is_file():
        if path.suffix.lower() in VIDEO_SUFFIXES:
            raise CheckpointError(f"{source}: is a video and not a model; give the model first, then videos")
        return _load_file(path, config, backbone)
    if HUB_NAME.fullmatch(str(source)):
        described = find_file(str(source), CONFIG_NAME)
        weights = find_file(str(source), SAFETENSORS_SINGLE_FILE)
        return _load_folder(source, described, weights, config, backbone)
    raise CheckpointError(
        f"{source}: does not exist; give a folder that `vtn publish` wrote, a checkpoint, or OWNER/NAME of a "
        f"model on the Hugging Face hub{_config_hint(source)}"
    )


def _config_hint(source: str | Path) -> str:
    """Returns what to do where a user gives the name of a configuration instead of weights."""
    try:
        find_config(source)
    except ConfigError:
        return ""
    return f". {source} is a configuration without weights: write CHECKPOINT --cfg {source}"


def _load_folder(
    name: str | Path, config_path: Path, weights: Path, config: str | Path, backbone: str
) -> Any:
    """Loads a folder, or a model of the hub, by the class that its ``config.json`` names."""
    content, model_class = read_published(name, config_path)
    if backbone:  # otherwise `from_pretrained` checks the model
        arguments = read_arguments(model_class.arguments_type, content, str(name))
        check_model(model_class, arguments, count_safetensors(weights), str(name), backbone)
    fields = {"backbone": backbone} if backbone else {}
    model = model_class.from_pretrained(str(name), **fields)
    if config:
        adopt_config(model, config)
    return model


def _load_file(path: Path, config: str | Path, backbone: str) -> Any:
    """Loads a checkpoint with the configuration in it, or with a configuration of the user's."""
    find_zoo_entry(path)
    content = read_checkpoint(path)
    if config:
        override = ["VTN.BACKBONE.NAME", backbone] if backbone else []
        cfg = load_config(config, [*NOTHING_TO_RUN, *override])
    elif isinstance(content.get("cfg"), str) and content["cfg"]:
        cfg = read_config_text(content["cfg"], str(path), backbone=backbone)
    else:
        raise CheckpointError(
            f"{path}: holds weights without a configuration; give the one that they were trained with: "
            "--cfg NAME_OR_FILE (in Python: config=NAME_OR_FILE)"
        )
    model_class = find_model_class(cfg.MODEL.MODEL_NAME, str(path))
    stored = count_stored(weights_in(content, path, averaged=evaluates_average(cfg)))
    arguments = model_class.arguments_type.from_config(cfg)
    if config:
        backbone = str(arguments.backbone.name)  # the user has chosen the configuration
    check_model(model_class, arguments, stored, str(path), backbone)
    return build_trained_model(cfg, content, path).eval()


def adopt_config(model: Any, config: str | Path) -> None:
    """Sets the sampling of frames in tests of a model to that of a configuration, by its name or path."""
    model.evaluation = build_evaluation(adopt_frame_format(load_config(config, NOTHING_TO_RUN), model))


def check_model(
    model_class: Any, arguments: ModelArguments, stored: tuple[int, int], source: str, backbone: str
) -> None:
    """Raises an error unless the model can be built from these arguments without looking elsewhere."""
    arguments = arguments.without_weights()
    if backbone:
        arguments = arguments.changed({"backbone": backbone})
    check_backbone(arguments.backbone.name, arguments.backbone.args, source=source, allowed=backbone)
    check_arguments(model_class, arguments, stored, source=source)
