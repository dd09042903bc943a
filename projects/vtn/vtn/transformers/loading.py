"""Loading of the network of a folder or of a model of the hub, by this package's own loader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE
from torch import Tensor, nn

from slowfast.errors import InputError
from vtn.arguments.model_arguments import ModelArguments
from vtn.backbones.hub_access import find_file
from vtn.factory import find_model_class
from vtn.folder.untrusted import check_backbone, count_safetensors
from vtn.predictor.source import check_model
from vtn.transformers.configuration import VTNConfig


def build_network(config: VTNConfig) -> Any:
    """Returns a new network.

    Raises:
        CheckpointError: for a class that is unknown, and for a backbone that a file must not choose.
    """
    source = config.name_or_path or "VTNConfig"
    model_class, arguments = _read_class(config, source)
    if isinstance(arguments.backbone.name, str) and arguments.backbone.name != config.chosen_backbone:
        check_backbone(arguments.backbone.name, arguments.backbone.args, source=source)
    return model_class(**arguments.as_keywords())


def load_network(
    config: VTNConfig, source: str, download: Mapping[str, Any], backbone: str, *, reset_head: bool
) -> Any:
    """Returns the network of a folder or hub model with its weights.

    Args:
        config: of the model.
        source: the folder, or the model's name on the hub.
        download: options of downloads.
        backbone: name of the backbone that the user has chosen; empty: the file's own.
        reset_head: leave the last layer as initialised where the number of classes differs.

    Raises:
        CheckpointError: for a source that does not exist, is damaged, or must not be acted on.
    """
    model_class, arguments = _read_class(config, source)
    stored = count_safetensors(find_file(source, SAFETENSORS_SINGLE_FILE, **download))
    check_model(model_class, arguments, stored, source, backbone)
    fields = arguments.without_weights().as_keywords()
    with torch.device("cpu"):
        return model_class.from_pretrained(source, reset_head=reset_head, **download, **fields)


def _read_class(config: VTNConfig, source: str) -> tuple[Any, ModelArguments]:
    """Returns the class that a configuration names, and the arguments of its constructor."""
    model_class = find_model_class(config.architecture, source)
    arguments = model_class.arguments_type().changed({**config.arguments, "num_classes": config.num_classes})
    return model_class, arguments


def take_placement(options: dict[str, Any], config: VTNConfig) -> dict[str, Any]:
    """Removes dtype and device from the options, and returns them as arguments of ``Module.to``.

    Raises:
        InputError: for several devices.
    """
    dtype = options.pop("torch_dtype", None)
    dtype = options.pop("dtype", None) or dtype
    if dtype in (None, "auto"):
        dtype = config.dtype
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype)
    device = options.pop("device_map", None)
    if isinstance(device, Mapping) and [*device] == [""]:
        device = device[""]
    if isinstance(device, Mapping) or device in ("auto", "balanced", "balanced_low_0", "sequential"):
        raise InputError(f"device_map = {device!r}: must be one device, such as cpu or cuda:0")
    placement = {"dtype": dtype, "device": device}
    return {name: value for name, value in placement.items() if value is not None}


def accept_names_of_folder(model: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Renames weights from a folder, whose names do not begin with ``vtn.``, as the trainer loads them."""
    for name in [name for name in state_dict if name.startswith(prefix)]:
        own = name.removeprefix(prefix)
        if not own.startswith("vtn."):
            state_dict[f"{prefix}vtn.{own}"] = state_dict.pop(name)
