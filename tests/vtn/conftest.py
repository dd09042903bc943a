"""Fixtures for the tests of VTN."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.golden_cases import Golden, load_golden
from tests.support.tiny_models import publish_tiny


@pytest.fixture(scope="session")
def golden() -> Golden:
    """Returns the golden outputs of the original VTN."""
    return load_golden()


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``vtn publish`` writes, of a tiny VTN with a timm transformer."""
    return publish_tiny(tmp_path_factory.mktemp("published"))
