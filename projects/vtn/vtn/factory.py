"""A model in one line, from the name of a configuration and published or own weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from slowfast.checkpoint.storage import class_names_in, read_checkpoint, weights_in
from slowfast.checkpoint.weights import load_weights
from slowfast.config import load_config
from slowfast.engine.evaluator import frame_normalization
from slowfast.models.build import build_model
from slowfast.solver.ema import evaluates_average
from vtn.hub import check_digest
from vtn.publishing.zoo import find_published


def create_model(
    config: str | Path, checkpoint: str | Path | None = None, overrides: Sequence[str] = ()
) -> nn.Module:
    """Returns the model of a configuration in evaluation mode.

    A checkpoint that is one of the model zoo's is verified by its SHA-256, and one that ``tools/publish.py``
    wrote by the digest in it; any other is taken as it is. The class names that travel in it become the
    model's ``class_names``, and its ``frame_mean`` and ``frame_std`` are what the weights were trained with:
    as a published checkpoint says, else as the configuration does.

    Args:
        config: the name of a shipped configuration (``VIT_B_VTN``) or a YAML file.
        checkpoint: weights to load; the backbone's published ones are then not downloaded.
        overrides: ``KEY, VALUE, …`` as on the command line.

    Raises:
        ConfigError: where the configuration is wrong.
        CheckpointError: where the weights are damaged or do not fit the model.
    """
    cfg = load_config(config, ["TRAIN.ENABLE", "False", "TEST.ENABLE", "False", *overrides])
    model: Any = build_model(cfg, fetch_weights=checkpoint is None)
    model.frame_mean, model.frame_std = frame_normalization(cfg, model)
    if checkpoint is not None:
        find_published(checkpoint)
        content = read_checkpoint(checkpoint)
        weights = weights_in(content, checkpoint, averaged=evaluates_average(cfg))
        load_weights(model, weights, source=str(checkpoint))
        if "weights_digest" in content:
            check_digest(model, content["weights_digest"], source=str(checkpoint))
        model.class_names = class_names_in(content, checkpoint)
        if "normalization" in content:
            model.frame_mean, model.frame_std = (tuple(content["normalization"][k]) for k in ("mean", "std"))
    return model.eval()
