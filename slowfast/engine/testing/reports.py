"""Reports of a test that other packages write, called after its metrics are logged."""

from __future__ import annotations

from importlib import import_module

from fvcore.common.config import CfgNode

from slowfast.engine.prediction_file import Predictions

# Named by text, since the visualisation is built on the engine; its packages are imported only where a
# report is asked for.
_WRONG_PREDICTIONS = ("slowfast.visualization.wrong_predictions", "build_wrong_predictions")


def build_test_reports(cfg: CfgNode, predictions: Predictions) -> None:
    """Writes the reports that the configuration asks for.

    Raises:
        ConfigError, OSError: of a report.
    """
    if cfg.TENSORBOARD.WRONG_PRED_VIS.ENABLE and (cfg.TENSORBOARD.ENABLE or "tensorboard" in cfg.TRACKERS):
        module, function = _WRONG_PREDICTIONS
        getattr(import_module(module), function)(cfg, predictions)
