"""Searches whose accuracies are not compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def short_trainings() -> Iterator[None]:
    """Lets the candidates of searches in this process train for one epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vtn.probing.candidates.EPOCHS", (1, 1))
        yield
