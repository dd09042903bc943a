"""Trials of an image model on the meta device, which compute shapes but no values."""

from __future__ import annotations

from typing import Any

import torch

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
        ModelError: if the model does not return one feature per image, or averages tokens that are not a
            grid of patches.
    """
    pixels = f"an image of {size}×{size} pixels"
    try:
        with torch.no_grad():
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
