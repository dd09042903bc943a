"""Reports of a test that other packages write, called after its metrics are logged."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from fvcore.common.config import CfgNode

from slowfast.config.derived import uses_tensorboard
from slowfast.datasets.video_dataset import ViewDataset
from slowfast.engine.prediction_file import Predictions

# Named by text, since the visualisation is built on the engine; its packages are imported only where a
# report is asked for.
_VISUALIZATION = "slowfast.visualization"


def build_test_reports(cfg: CfgNode, predictions: Predictions) -> None:
    """Writes the reports on predictions that the configuration asks for.

    Raises:
        OSError: where a file cannot be read or written.
    """
    if cfg.TENSORBOARD.WRONG_PRED_VIS.ENABLE and uses_tensorboard(cfg):
        import_module(f"{_VISUALIZATION}.wrong_predictions").build_wrong_predictions(cfg, predictions)


def build_model_reports(
    cfg: CfgNode, model: Any, dataset: ViewDataset, class_names: Sequence[str], device: torch.device
) -> None:
    """Writes the reports on a tested model that the configuration asks for.

    Raises:
        OSError: where a file cannot be written.
    """
    if cfg.TENSORBOARD.MODEL_VIS.ENABLE and uses_tensorboard(cfg):
        import_module(f"{_VISUALIZATION}.model_view").build_model_view(
            cfg, model, dataset, class_names, device
        )
