"""Configurations, weights and preprocessing of ``transformers`` models, from the hub or a local folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn

from slowfast.errors import ModelError, first_line
from vtn.backbones.published import fetch

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Files of weights, or indices of their parts, in the order in which ``transformers`` looks for them."""

# Entries of a configuration that are computed from other entries.
_DERIVED = frozenset({"stage_names", "out_features", "out_indices", "_out_features", "_out_indices"})
# PIL's numbers for LANCZOS and BICUBIC, as preprocessor_config.json contains them.
_BICUBIC_FILTERS = (1, 3)


def is_model_type(name: str) -> bool:
    """Returns whether a name is a model type of ``transformers``, which has no weights."""
    from transformers import CONFIG_MAPPING

    return name in CONFIG_MAPPING and not Path(name).is_dir()


def read_configuration(name: str) -> Any:
    """Returns the configuration of that name; of a model of images or videos and text, the vision encoder's.

    Raises:
        ModelError: if it cannot be downloaded, or the installed version of ``transformers`` lacks the model.
    """
    from transformers import AutoConfig

    config = (
        AutoConfig.for_model(name)
        if is_model_type(name)
        else fetch(
            lambda: AutoConfig.from_pretrained(name),
            backbone=f"hf:{name}",
            remedy=manual_download(name, "config.json"),
            hub_name=name,
        )
    )
    return getattr(config, "vision_config", config)


def with_options(config: Any, options: Mapping[str, Any], backbone: str) -> Any:
    """Returns a configuration with the options applied; ``backbone`` names it in messages.

    Raises:
        ModelError: for unknown options, and values that the configuration refuses.
    """
    unknown = [key for key in options if not hasattr(config, key)]
    if unknown:
        known = ", ".join(sorted(key for key in type(config)().to_diff_dict() if key.islower()))
        raise ModelError(
            f"backbone {backbone}: VTN.BACKBONE.ARGS has unknown keys {', '.join(unknown)}; "
            f"{type(config).__name__} has {known}"
        )
    entries = {key: value for key, value in config.to_dict().items() if key not in _DERIVED}
    try:
        return type(config)(**{**entries, **options})
    except (StrictDataclassError, TypeError) as error:
        raise ModelError(f"backbone {backbone}: VTN.BACKBONE.ARGS = {dict(options)}: {error}") from error


def random_model(config: Any, name: str, *, auto_class: str, **arguments: Any) -> nn.Module:
    """Returns the model with random weights.

    Args:
        auto_class: the class of ``transformers`` that selects the model's class, or the model's class.
        arguments: keyword arguments of the model's constructor.

    Raises:
        ModelError: if the model cannot be built.
    """
    import transformers

    model_class = getattr(transformers, auto_class)
    # Auto classes and the classes that they choose have different names for it.
    build = getattr(model_class, "from_config", None) or model_class._from_config
    try:
        return build(config, dtype=torch.float32, **arguments)
    except Exception as error:  # an impossible size, a package that is missing, a type that AutoModel lacks
        if "Unrecognized configuration class" in str(error):
            raise ModelError(
                f"backbone hf:{name}: transformers has no class that encodes images alone for "
                f"{type(config).__name__}; use another model, such as a CLIP, SigLIP or DINO"
            ) from error
        raise ModelError(f"backbone hf:{name}: {first_line(str(error).strip() or error)}") from error


def published_model(
    name: str,
    config: Any,
    *,
    auto_class: str,
    unused: tuple[str, ...],
    files: str = "preprocessor_config.json",
    **arguments: Any,
) -> nn.Module:
    """Returns the model with the weights of the hub or of a local folder.

    Args:
        auto_class, arguments: as in :func:`random_model`.
        unused: first parts of the names of weights that may be missing, since the backbone does not use them.
        files: further files, which the instructions for a manual download name.

    Raises:
        ModelError: for a model type, incomplete weights, and weights that cannot be downloaded.
    """
    import transformers

    if is_model_type(name):
        raise ModelError(
            f"backbone hf:{name}: is a model type and has no weights; name a model on the hub or a local "
            "folder, or set VTN.BACKBONE.PRETRAINED False"
        )
    load = getattr(transformers, auto_class).from_pretrained
    model, report = fetch(
        lambda: load(name, config=config, dtype=torch.float32, output_loading_info=True, **arguments),
        backbone=f"hf:{name}",
        remedy=manual_download(name, f"config.json, {files} and model.safetensors"),
        hub_name=name,
    )
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(unused))
    if missing:
        raise ModelError(
            f"backbone hf:{name}: the file lacks {len(missing)} weights of {type(model).__name__}: "
            f"{', '.join(missing[:10])}; check that it belongs to this model type"
        )
    return model


def side_of(size: Any) -> int | None:
    """Returns the height in pixels of a size that is a number, a pair, a dictionary, or None."""
    if isinstance(size, Mapping):
        size = size.get("height", size.get("shortest_edge"))
    if isinstance(size, list | tuple):
        size = size[0]
    return int(size) if size else None


def interpolation_in(processor: Mapping[str, Any]) -> str:
    """Returns ``bilinear`` or ``bicubic``, from the content of a preprocessor's file."""
    return "bicubic" if processor.get("resample") in _BICUBIC_FILTERS else "bilinear"


def manual_download(name: str, files: str) -> str:
    """Returns the instructions for a manual download."""
    return (
        f"On a machine with internet access download {files} from\n"
        f"  https://huggingface.co/{name}/tree/main\n"
        "copy them into a folder on this machine, and set VTN.BACKBONE.NAME hf:FOLDER. With "
        "VTN.BACKBONE.PRETRAINED False only config.json is needed."
    )
