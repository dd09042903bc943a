"""A run that ended early."""

from __future__ import annotations

from pathlib import Path

import pytest

from slowfast.engine.run import run
from tests.support.run_results import NO_DROPOUT_OR_TEST
from tests.support.tiny import tiny_config


@pytest.fixture
def stopped(colour_videos: Path, tmp_path: Path) -> Path:
    """The output folder of a run that ended after two steps."""
    assert run(tiny_config(colour_videos, tmp_path, *NO_DROPOUT_OR_TEST, "TRAIN.MAX_STEPS", 2)) == 0
    return tmp_path
