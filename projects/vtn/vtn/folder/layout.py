"""The layout of a model's folder, which ``vtn`` and Hugging Face ``transformers`` both read.

- ``model.safetensors``: the weights by their names in the model's ``state_dict()``.
- ``config.json``: the arguments of the constructor, one object per group; facts about the weights; and the
  entries by which the Auto classes of ``transformers`` recognise the folder.
- ``video_preprocessor_config.json``: the sampling and normalisation of frames, for ``AutoVideoProcessor``.
- ``modeling_vtn.py``: imports the classes of this package, for ``trust_remote_code=True``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from slowfast.errors import CheckpointError, ModelError, counted
from slowfast.files import atomic_write, write_text
from slowfast.models.capabilities import clip_grid_of
from slowfast.models.weights_hash import weights_hash
from vtn.folder.entries import (
    PROCESSOR_NAME,
    REMOTE_CODE,
    REMOTE_CODE_NAME,
    arguments_as_json,
    problem_type_of,
    transformers_entries,
)


def write_folder(
    model: Any,
    folder: Path,
    *,
    weights: Mapping[str, Tensor] | None = None,
    problem_type: str | None = None,
) -> None:
    """Writes all files of a folder except the model card; each replaces an earlier one as a whole.

    Args:
        model: a :class:`vtn.hub.HubModel`.
        weights: written in place of ``model.state_dict()``, under the same names.
        problem_type: entry of ``config.json``; None: from the score activation of the evaluation.

    Raises:
        ModelError: if ``config.json`` cannot describe an argument of the constructor, or for another number
            of class names than of classes. Nothing is written.
        CheckpointError: if the weights cannot be written.
    """
    if model.class_names and len(model.class_names) != model.num_classes:
        raise ModelError(
            f"class_names has {counted(len(model.class_names), 'name')}: must be one for each of the "
            f"{model.num_classes} classes, in their order, or empty"
        )
    arguments = arguments_as_json(model.arguments.without_weights())
    weights = _with_own_memory(model.state_dict() if weights is None else weights)
    dtypes = [tensor.dtype for tensor in weights.values() if tensor.is_floating_point()]
    content = {
        **transformers_entries(
            class_names=model.class_names,
            num_classes=model.num_classes,
            dtype=str(dtypes[0]).removeprefix("torch."),
            problem_type=problem_type or problem_type_of(model.evaluation),
        ),
        **arguments,
        "architecture": type(model).__name__,
        "class_names": list(model.class_names),
        "evaluation": dict(model.evaluation),
        "frame_mean": list(model.frame_mean),
        "frame_std": list(model.frame_std),
        "weights_digest": weights_hash(model, weights),
    }
    _write_weights(folder / SAFETENSORS_SINGLE_FILE, weights, model.class_names)
    _write_json(folder / PROCESSOR_NAME, processor_content(model))
    write_text(folder / REMOTE_CODE_NAME, REMOTE_CODE)
    _write_json(folder / CONFIG_NAME, content)


def _with_own_memory(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns contiguous weights, those that share memory copied: safetensors stores none that do."""
    stored: set[int] = set()
    result: dict[str, Tensor] = {}
    for name, weight in weights.items():
        tensor = weight.detach().contiguous()
        memory = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if memory in stored else tensor
        stored.add(memory)
    return result


def processor_content(model: Any) -> dict[str, Any]:
    """Returns the content of ``video_preprocessor_config.json``.

    It names no class: ``AutoVideoProcessor`` finds it by ``config.json``, whether it is registered or remote.
    """
    grid = clip_grid_of(model)
    return {
        "evaluation": dict(model.evaluation),
        "image_mean": list(model.frame_mean),
        "image_std": list(model.frame_std),
        "position_rate": model.position_rate,
        "clip_grid": None if grid is None else asdict(grid),
    }


def _write_weights(path: Path, weights: dict[str, Tensor], class_names: Sequence[str]) -> None:
    metadata = {"format": "pt", "class_names": json.dumps(class_names)}
    try:
        with atomic_write(path) as temporary:
            save_file(weights, temporary, metadata)
            temporary.chmod(0o644)  # safetensors makes it readable for the owner only
    except SafetensorError as error:  # safetensors wraps operating system errors, such as a full disk
        raise CheckpointError(
            f"could not save {path}: {error}; make room or restore the access there, or give another folder"
        ) from error


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
