"""Trials of an image model on the meta device, which compute shapes but no values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from slowfast.errors import ModelError, first_line
from vtn.backbones.hugging_face.token_layout import check_patches


def width_of_features(trial: Any, size: int, backbone: str) -> int:
    """Returns the width F of the features of square images.

    Args:
        trial: a :class:`vtn.backbones.hugging_face.images.HuggingFaceBackbone` on the meta device, in
            evaluation mode.
        size: height and width of the images in pixels.
        backbone: name of the backbone, for messages.

    Raises:
        ModelError: if the model does not return one feature per image, draws random numbers, or averages
            tokens that are not a grid of patches.
    """
    pixels = f"an image of {size}×{size} pixels"
    try:
        with torch.no_grad(), _RandomOperations() as random:
            output = trial.run(_image(size))
            shape = tuple(trial.pool(output).shape)
    except ModelError:
        raise
    except Exception as error:  # models of many authors raise errors of any type
        raise ModelError(
            f"backbone {backbone}: must return one feature for {pixels}, but fails with "
            f"{type(error).__name__}: {first_line(str(error).strip() or error)}; use another model"
        ) from error
    if len(shape) != 2:
        raise ModelError(
            f"backbone {backbone}: must return one feature for {pixels}, but the output has shape {shape}; "
            "use another model"
        )
    if random.names:
        raise ModelError(
            f"backbone {backbone}: must return the same feature for the same image, but draws random numbers "
            f"({', '.join(sorted(random.names))}) in evaluation mode; use another model"
        )
    if (tokens := trial.averaged_tokens(output)) is not None:
        check_patches(trial.layout, tokens, size, backbone)
    return shape[1]


def accepts(trial: Any, size: int) -> bool:
    """Returns whether the model accepts square images of that size; see :func:`width_of_features`."""
    try:
        with torch.no_grad():
            trial(_image(size))
    except Exception:  # as above
        return False
    return True


def _image(size: int) -> torch.Tensor:
    return torch.zeros(1, 3, size, size, device="meta")


class _RandomOperations(TorchDispatchMode):
    """A list of the operations that draw random numbers.

    Attributes:
        names: names of the operations.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        # Fused attention has the tag for its dropout, which evaluation mode turns off.
        if torch.Tag.nondeterministic_seeded in func.tags and "attention" not in func.name():
            self.names.add(func.name())
        return func(*args, **(kwargs or {}))
