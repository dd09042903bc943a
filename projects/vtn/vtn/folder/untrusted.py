"""Checks of files with weights that cannot be trusted: their configuration is data, not orders.

Weights are read by ``torch.load(weights_only=True)`` or safetensors, which run no code from the file. This
module is about the entries beside the weights: modules to import, paths, addresses, and sizes that would fill
the memory.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from fvcore.common.config import CfgNode
from safetensors import safe_open
from torch import Tensor

from slowfast.config import load_config
from slowfast.config.yaml_file import parse_yaml
from slowfast.errors import CheckpointError, ConfigError, first_line
from vtn.arguments.evaluation import EVALUATION_KEYS
from vtn.backbones.base import BACKBONE_REGISTRY

NOTHING_TO_RUN = ("TRAIN.ENABLE", "False", "TEST.ENABLE", "False")

# Sections and keys that describe the model and its evaluation; all others of a file have no effect.
_READ = (
    *EVALUATION_KEYS,
    *("DATA.TRAIN_CROP_SIZE", "DATA.NORMALIZATION", "DATA.MEAN", "DATA.STD"),
    *("MODEL", "VTN", "MODEL_EMA.ENABLE", "MODEL_EMA.EVALUATE"),
)
# Keys in these sections that name files and downloads, or matter to training alone.
_NOT_READ = (
    *("MODEL.LOSS_FUNC", "VTN.PRETRAINED"),
    *("VTN.BACKBONE.PRETRAINED", "VTN.BACKBONE.CHECKPOINT", "VTN.LONGFORMER.CHECKPOINT"),
)
# Sources of backbones whose names need no other file and no network; other prefixes name folders and hubs.
_SELF_CONTAINED = ("timm", "torchvision", "pytorchvideo")
# Arguments by which libraries of backbones load weights.
_LOADING_ARGUMENTS = frozenset(
    {
        *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_path", "checkpoint_path"),
        *("cache_dir", "weights", "weights_backbone", "trust_remote_code", "auto_map", "name_or_path"),
    }
)
# No width, number of layers, or other size of a network is larger; libraries make lists of some of them.
_LARGEST_SIZE = 1 << 17


def read_config_text(
    text: str, source: str, *, backbone: str = "", sections: tuple[str, ...] = ()
) -> CfgNode:
    """Returns the parts of a checkpoint's configuration that describe the model and its evaluation.

    ``IMPORTS``, ``_BASE_``, paths, addresses and output folders are left out, so that they have no effect.

    Args:
        text: YAML.
        source: the checkpoint, for messages.
        backbone: replaces the name of the backbone.
        sections: further sections to read, those of networks that are not this project's.

    Raises:
        CheckpointError: for text that is not a configuration.
        ConfigError: for values that are wrong. Where the file names
            ``IMPORTS``, the message says that these were not imported.
    """
    try:
        content = parse_yaml(text, source)
    except ConfigError as error:
        raise CheckpointError(f"its configuration cannot be read: {error.problems[0]}") from error
    kept = {
        key: value
        for key, value in _leaves(content)
        if _lies_in(key, (*_READ, *sections)) and not _lies_in(key, _NOT_READ)
    }
    overrides = [*NOTHING_TO_RUN, *(["VTN.BACKBONE.NAME", backbone] if backbone else [])]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.yaml")
        file.write_text(yaml.safe_dump(kept), encoding="utf-8")
        try:
            return load_config(file, overrides, warn=False)
        except ConfigError as error:
            problems = [problem.replace(str(file), "configuration") for problem in error.problems]
            if imports := content.get("IMPORTS"):
                problems.append(
                    f"IMPORTS = {imports!r}: is not imported, because a file of weights must not choose the "
                    "code that runs; if the model needs that module, give it by --imports FILE (in Python: "
                    "imports=[FILE])"
                )
            raise ConfigError(*problems, source=source) from None


def _leaves(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted key, value) of all values that are not mappings, of empty mappings, too."""
    for name, value in content.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


def _items(value: Any) -> Iterator[Any]:
    """Yields a value, or those at any depth in it where it is a mapping or a list."""
    if isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _items(inner)
    else:
        yield value


def _lies_in(key: str, sections: tuple[str, ...]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)


def check_backbone(name: object, args: Mapping[str, Any], *, source: str, allowed: str = "") -> None:
    """Raises ``CheckpointError`` for a backbone whose description would be looked up in a folder or on a hub.

    Args:
        name: name of the backbone in the file.
        args: arguments of its constructor in the file.
        source: the file, for messages.
        allowed: name that the user has written for it.
    """
    if not isinstance(name, str):
        raise CheckpointError(f"{source}: the backbone's name must be text, but is {name!r}")
    if name != allowed and not _is_self_contained(name):
        raise CheckpointError(
            f"{source}: its backbone {name!r} is described by another file or a hub, which a file of weights "
            f"must not choose; if you trust it, write --backbone {name} (in Python: backbone={name!r})"
        )
    for argument, value in _leaves(args):
        if argument.split(".")[0].strip("_") in _LOADING_ARGUMENTS or any(
            isinstance(item, str) and set(item) & set("/\\:") for item in _items(value)
        ):
            raise CheckpointError(
                f"{source}: backbone argument {argument} = {value!r}: must not name files or addresses; "
                "publish the model without this argument"
            )


def _is_self_contained(name: str) -> bool:
    """Returns whether the libraries know a backbone of that name without another file."""
    if name in BACKBONE_REGISTRY:
        return True
    family, colon, rest = name.partition(":")
    if family == "hf":
        from transformers import CONFIG_MAPPING

        return rest in CONFIG_MAPPING and not Path(rest).exists()
    if not colon:
        family, rest = "timm", name
    return family in _SELF_CONTAINED and not set(rest) & set("/\\:")


def count_stored(weights: Mapping[str, Tensor]) -> tuple[int, int]:
    """Returns the number of weights, and the number of values that are stored for them.

    A tensor may claim more values than its storage has, by repeating them.
    """
    storages = {}
    for tensor in weights.values():
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes() // tensor.element_size()
    return len(weights), sum(storages.values())


def count_safetensors(path: str | Path) -> tuple[int, int]:
    """Returns the number of weights in a file and of their values; reads its header alone."""
    try:
        with safe_open(path, "pt") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    except Exception as error:  # safetensors has errors of its own
        raise CheckpointError(f"{path} cannot be read: {first_line(error)}") from error
    return len(shapes), sum(map(math.prod, shapes))


def check_numbers(groups: Mapping[str, Any], *, source: str) -> None:
    """Raises ``CheckpointError`` for a number among a model's arguments that cannot be a size of a network.

    Args:
        groups: arguments by name; mappings in them may be nested.
        source: the file, for messages.
    """
    for key, value in _leaves(groups):
        for number in _items(value):
            if isinstance(number, int | float) and abs(number) > _LARGEST_SIZE:
                raise CheckpointError(
                    f"{source}: {key} = {number!r}: must be {_LARGEST_SIZE:,} or less, since it is a size of "
                    "the network"
                )
