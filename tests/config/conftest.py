"""A configuration that is ready to run."""

from __future__ import annotations

from pathlib import Path

import pytest
from fvcore.common.config import CfgNode

from slowfast.config import get_default_config


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    """A configuration that is ready to run, with data files and an output folder."""
    config = get_default_config()
    config.MODEL.MODEL_NAME = "a model of no project"
    for name in ("train.csv", "val.csv", "test.csv"):
        (tmp_path / name).write_text("a.mp4 0\n")
    config.DATA.PATH_TO_DATA_DIR = str(tmp_path)
    config.OUTPUT_DIR = str(tmp_path / "output")
    return config
