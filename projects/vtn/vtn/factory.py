"""A model in one line: from a shipped configuration, a YAML file, or a published folder."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode
from huggingface_hub.constants import CONFIG_NAME

from slowfast.checkpoint.storage import read_checkpoint
from slowfast.checkpoint.weights import check_reset_head
from slowfast.config import load_config
from slowfast.config.load import find_config
from slowfast.config.merge import Overrides, as_pairs
from slowfast.errors import CheckpointError, ConfigError, InputError, first_line, shown
from slowfast.models.build import MODEL_REGISTRY, build_model
from slowfast.models.frame_format import adopt_frame_format, frame_normalization
from slowfast.registry import find_package, import_user_modules
from slowfast.solver.ema import evaluates_average
from vtn.arguments.evaluation import build_evaluation
from vtn.backbones.hub_access import find_file
from vtn.folder.untrusted import NOTHING_TO_RUN
from vtn.frame_model import FrameModel
from vtn.hub import DOWNLOAD_OPTIONS, find_registered_model, read_config
from vtn.publishing.checkpoint import load_checkpoint
from vtn.publishing.zoo import find_zoo_entry

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_WEIGHT_SUFFIXES = (".pyth", ".pth", ".pt", ".safetensors")


def list_models(filter: str = "*") -> list[str]:
    """Returns the sorted names of the shipped configurations, which :func:`create_model` accepts.

    Args:
        filter: pattern of the names with ``*``, ``?`` and ``[…]``; upper and lower case are the same.

    >>> list_models("r50*frozen")
    ['R50_VTN_FROZEN']
    """
    if not isinstance(filter, str):
        raise InputError(f"filter = {shown(filter)}: must be a pattern such as 'R50*'")
    folder = find_package("vtn.configs")
    names = sorted(file.stem for file in folder.glob("*.yaml")) if folder else []
    # BASE_….yaml holds what other configurations have in common.
    return [name for name in names if not name.startswith("BASE_") and fnmatch(name.lower(), filter.lower())]


def create_model(
    name: str | Path,
    checkpoint: str | Path | None = None,
    *,
    overrides: Overrides = (),
    reset_head: bool = False,
    **fields: Any,
) -> FrameModel:
    """Returns a model in evaluation mode, on the CPU.

    Its ``frame_mean`` and ``frame_std`` are those that the weights were trained with: as the published folder
    or checkpoint records them, else those of the configuration. Its ``class_names`` are those that were saved
    with the weights, in the order of the classes, or empty.

    Args:
        name: a shipped configuration such as ``VIT_B_VTN`` (see :func:`list_models`), the path of a YAML
            file, the path of a published folder with ``config.json``, or ``OWNER/NAME`` of a model on the
            Hugging Face hub.
        checkpoint: path of weights for the whole model; the backbone's published weights are then not
            downloaded. A checkpoint of the model zoo is verified by its SHA-256, one that ``vtn publish``
            wrote by the hash in it. None: a configuration gives a model as initialised, with the backbone's
            published weights unless ``pretrained=False``; a folder gives its own weights.
        overrides: ``{"KEY": VALUE, …}`` of a configuration, see :func:`slowfast.config.load_config`.
        reset_head: leave the last layer as initialised where ``num_classes`` differs from that of the folder
            or checkpoint.
        fields: arguments of the model that replace those of the configuration or folder: ``num_classes``,
            ``backbone``, ``encoder``, ``head``, or single fields by flat names, as for :class:`vtn.VTN`. For
            a folder also the options of ``from_pretrained`` (``revision``, ``token``, …).

    Raises:
        ConfigError: for an unknown name, with the nearest ones, or a configuration with errors.
        ModelError: for arguments that are unknown, out of range, or do not fit together.
        CheckpointError: for weights that are damaged or do not fit the model.
        InputError: for a checkpoint that is not a path, and a ``reset_head`` that is not True or False.

    >>> import vtn
    >>> model = vtn.create_model("VIT_B_VTN", num_classes=12, backbone="shallow_conv", pretrained=False)
    >>> type(model).__name__, model.num_classes, model.arguments.encoder.num_layers
    ('VTN', 12, 3)
    """
    check_reset_head(reset_head)
    folder = _published_config(name, fields)
    if Path(name).is_file() and Path(name).suffix in _WEIGHT_SUFFIXES:
        raise ConfigError(
            f"{name}: is a file of weights, not a configuration or a published folder; give the name of "
            "its configuration, and the file as checkpoint=FILE"
        )
    if folder is not None:
        if overrides:
            raise ConfigError(
                f"overrides = {as_pairs(overrides)}: {name} is a published model, which has no configuration "
                "keys; give keyword arguments such as num_classes=12"
            )
        _, model_class = read_published(name, folder)
        content = _read_weights(checkpoint)
        model, averaged = model_class.from_pretrained(str(name), reset_head=reset_head, **fields), False
    else:
        cfg = load_config(name, [*NOTHING_TO_RUN, *as_pairs(overrides)])
        content = _read_weights(checkpoint)
        model, averaged = _build_frame_model(cfg, content is None, fields), evaluates_average(cfg)
    if content is not None and checkpoint is not None:
        load_checkpoint(
            model,
            content,
            checkpoint,
            averaged=averaged,
            reset_head=reset_head,
            reset_option="reset_head=True",
        )
    return model.eval()


def _read_weights(checkpoint: str | Path | None) -> Mapping[str, Any] | None:
    """Returns the content of a file of weights, whose errors come before a model is built; None for None."""
    if checkpoint is None:
        return None
    if not isinstance(checkpoint, str | os.PathLike):
        raise InputError(
            f"checkpoint is a {type(checkpoint).__name__}: must be the path of a file of weights; "
            "load_state_dict takes weights in memory"
        )
    find_zoo_entry(checkpoint)
    return read_checkpoint(checkpoint)


def _build_frame_model(cfg: CfgNode, fetch_weights: bool, fields: dict[str, Any]) -> FrameModel:
    """Builds the model of a configuration with some arguments replaced."""
    model_class = check_model_class(cfg)
    model: Any
    if fields:
        model = model_class.from_config(cfg, fetch_weights=fetch_weights, **fields)
    else:
        model = build_model(cfg, fetch_weights=fetch_weights)
    model.frame_mean, model.frame_std = frame_normalization(cfg, model)
    # Other arguments than the configuration's may leave the size of frames open.
    with suppress(ConfigError):
        model.evaluation = build_evaluation(adopt_frame_format(cfg, model))
    return model


def check_model_class(cfg: CfgNode) -> type[FrameModel]:
    """Returns the class that ``MODEL.MODEL_NAME`` names, once it is known to encode single frames.

    Raises:
        ConfigError: for an unknown name, and for a model that does not encode single frames.
    """
    import_user_modules(cfg.IMPORTS)
    model_class = MODEL_REGISTRY.get(cfg.MODEL.MODEL_NAME)
    if not (isinstance(model_class, type) and issubclass(model_class, FrameModel)):
        raise ConfigError(
            f"MODEL.MODEL_NAME = {cfg.MODEL.MODEL_NAME!r}: must be a model that encodes single frames, such "
            "as VTN, FrameAverage or AttentiveProbe; build other models with slowfast.models.build_model"
        )
    return model_class


def _published_config(name: str | Path, fields: dict[str, Any]) -> Path | None:
    """Returns ``config.json`` of a published model; None where ``name`` is a configuration.

    A name with one slash that no file, folder or shipped configuration has is looked up on the hub.
    """
    if isinstance(name, str | os.PathLike) and (path := Path(name, CONFIG_NAME)).is_file():
        return path
    try:
        find_config(name)
    except ConfigError as error:
        if not HUB_NAME.fullmatch(str(name)) or Path(name).exists():
            raise
        options = {key: fields[key] for key in DOWNLOAD_OPTIONS if key in fields}
        try:
            return find_file(str(name), CONFIG_NAME, **options)
        except CheckpointError as failure:
            reason = first_line(failure.__cause__)
            raise ConfigError(
                f"{error.problems[0]}; the Hugging Face hub was asked too: {reason}"
            ) from failure
    return None


def read_published(name: str | Path, config: Path) -> tuple[Mapping[str, Any], Any]:
    """Returns the content of the ``config.json`` of a folder or a model of the hub, and the class it names.

    Raises:
        CheckpointError: for a file that cannot be read, and as :func:`find_model_class` does.
    """
    content = read_config(name, config)
    return content, find_model_class(content.get("architecture"), str(name))


def find_model_class(architecture: object, source: str) -> Any:
    """Returns the class of a model of this project by the name that a file gives.

    Args:
        architecture: the name in the registry of models; anything else that a damaged file holds is refused.
        source: of the name, for messages.

    Raises:
        CheckpointError: for anything but a name, for an unknown class, and for a model of another kind.
    """
    if not isinstance(architecture, str):
        raise CheckpointError(
            f"{source}: {CONFIG_NAME} does not name an architecture; give a folder that save_pretrained or "
            "`vtn publish` wrote"
        )
    model_class = find_registered_model(architecture, source)
    if not (isinstance(model_class, type) and issubclass(model_class, FrameModel)):
        raise CheckpointError(
            f"{source}: is a {architecture}, which does not encode single frames; use VTN, FrameAverage or "
            "AttentiveProbe, and test other models with `slowfast run`"
        )
    return model_class
