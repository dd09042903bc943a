"""A model in one line, from the name of a configuration and published or own weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from slowfast.config import load_config
from slowfast.engine.checkpoint import load_model_weights
from slowfast.models.build import build_model


def create_model(
    config: str | Path, checkpoint: str | Path | None = None, overrides: Sequence[str] = ()
) -> nn.Module:
    """Returns the model of a configuration in evaluation mode.

    Args:
        config: the name of a shipped configuration (``VIT_B_VTN``) or a YAML file.
        checkpoint: weights to load; the backbone's published ones are then not downloaded.
        overrides: ``KEY, VALUE, …`` as on the command line.

    Raises:
        ConfigError: where the configuration is wrong.
        CheckpointError: where the weights do not fit the model.
    """
    cfg = load_config(config, ["TRAIN.ENABLE", "False", "TEST.ENABLE", "False", *overrides])
    model = build_model(cfg, fetch_weights=checkpoint is None)
    if checkpoint is not None:
        load_model_weights(model, checkpoint)
    return model.eval()
