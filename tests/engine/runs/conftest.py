"""A run without interruption, with which others are compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from slowfast.engine.run import run
from tests.support.processes import run_forked
from tests.support.tiny import tiny_config


@pytest.fixture(scope="session")
def unbroken(colour_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run without interruption."""
    output = tmp_path_factory.mktemp("unbroken")
    assert run_forked(run, tiny_config(colour_videos, output)) == 0
    return output
