"""The class of a model that a folder or a checkpoint names."""

from __future__ import annotations

from typing import Any

from slowfast.errors import CheckpointError, ConfigError
from slowfast.models.build import MODEL_REGISTRY


def find_registered_model(name: str, source: str) -> Any:
    """Returns what is registered as a model by the name that a file gives.

    Args:
        name: in the registry of models.
        source: of the name, for messages.

    Raises:
        CheckpointError: for a name that is not registered.
    """
    try:
        return MODEL_REGISTRY.get(name)
    except ConfigError as error:
        raise CheckpointError(
            f"{source}: {error.problems[0]}. If it is a model of your own, give the file that registers it "
            "by --imports FILE (in Python: imports=[FILE], or import it first)"
        ) from error
