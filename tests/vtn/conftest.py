"""Fixtures for the tests of VTN."""

from __future__ import annotations

import pytest

from tests.support.golden_cases import Golden, load_golden


@pytest.fixture(scope="session")
def golden() -> Golden:
    """Returns the golden outputs of the original VTN."""
    return load_golden()
