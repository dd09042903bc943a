"""A file of weights with what belongs to them: its writing, and the model that it describes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode

from slowfast import __version__
from slowfast.checkpoint.storage import class_names_in, weights_in
from slowfast.checkpoint.weights import load_weights
from slowfast.models.build import build_model
from slowfast.models.frame_format import adopt_frame_format, frame_normalization
from slowfast.models.weights_hash import weights_hash
from slowfast.solver.ema import evaluates_average
from vtn.arguments.evaluation import build_evaluation
from vtn.hub import check_hash, read_normalization
from vtn.publishing.zoo import file_sha256


def build_trained_model(cfg: CfgNode, content: Mapping[str, Any], checkpoint: str | Path) -> Any:
    """Returns the model of a configuration with the weights of a file, and what is known about its frames.

    Args:
        content: of the file ``checkpoint``, see ``slowfast.checkpoint.storage.read_checkpoint``.

    Raises:
        ConfigError, ModelError: for a model that cannot be built, or does not fit its frames.
        CheckpointError: for weights that are damaged or do not fit the model.
    """
    model: Any = build_model(cfg, fetch_weights=False)
    model.frame_mean, model.frame_std = frame_normalization(cfg, model)
    load_checkpoint(model, content, checkpoint, averaged=evaluates_average(cfg))
    model.evaluation = build_evaluation(adopt_frame_format(cfg, model))
    return model


def load_checkpoint(
    model: Any,
    content: Mapping[str, Any],
    checkpoint: str | Path,
    *,
    averaged: bool = False,
    reset_head: bool = False,
    reset_option: str = "",
) -> None:
    """Loads weights, verifies them where a hash is known, and takes over what was saved with them.

    Args:
        content: of the file ``checkpoint``, see ``slowfast.checkpoint.storage.read_checkpoint``.
        averaged: load the moving average of the weights, where the file has one.
        reset_head: leave the last layer as initialised where the number of classes differs.
        reset_option: the option that sets ``reset_head``, for messages; empty: the caller has none.

    Raises:
        CheckpointError: for weights that are damaged or do not fit the model.
    """
    weights = weights_in(content, checkpoint, averaged=averaged)
    adapted = load_weights(
        model, weights, source=str(checkpoint), reset_head=reset_head, reset_option=reset_option
    )
    if "weights_digest" in content and not adapted:
        # Those of the file: the model's own may have a last layer as initialised.
        check_hash(model, content["weights_digest"], source=str(checkpoint), weights=weights)
    names = class_names_in(content, checkpoint)
    model.class_names = names if len(names) == model.num_classes else ()
    if "normalization" in content:
        model.frame_mean, model.frame_std = read_normalization(
            content["normalization"], ("mean", "std"), f"{checkpoint}: normalization"
        )


def write_checkpoint(model: Any, config: str, folder: Path, name: str) -> tuple[str, str]:
    """Writes the ``.pyth`` file, whose name ends with its own hash; returns its name and SHA-256.

    Args:
        model: with its weights, its class names, and the normalisation of its frames.
        config: YAML of the configuration.
        folder: to write to.
        name: of the publication.
    """
    content = {
        "model_state": model.state_dict(),
        "cfg": config,
        "class_names": list(model.class_names),
        "normalization": {"mean": list(model.frame_mean), "std": list(model.frame_std)},
        "weights_digest": weights_hash(model),
        "version": __version__,
    }
    unnamed = folder / "unnamed.pyth"
    # Given a path, torch would store the file's temporary name inside the archive, and the hash would depend
    # on it.
    with unnamed.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    sha256 = file_sha256(unnamed)
    path = folder / f"{name}-{sha256[:8]}.pyth"
    unnamed.rename(path)
    return path.name, sha256
