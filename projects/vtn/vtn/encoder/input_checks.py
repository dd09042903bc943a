"""Refuses what the models cannot take, with a message that says what to do about it.

B clips, T frames, F width of a feature.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slowfast.errors import InputError, NotFiniteError


def check_frames(frames: Tensor) -> None:
    """Raises ``InputError`` unless frames are (B, 3, T, H, W), of a float type, with at least one frame."""
    if frames.ndim != 5 or frames.shape[1] != 3:
        raise InputError(f"frames have shape {tuple(frames.shape)}; give (clips, 3, frames, height, width)")
    if not frames.is_floating_point():
        raise InputError(
            f"frames are {frames.dtype}; normalise them first, see slowfast.datasets.clip.normalize"
        )
    if frames.shape[2] == 0:
        raise InputError("the clips have no frames; give at least one")


def check_sequence(features: Tensor, positions: Tensor | None, mask: Tensor | None, feature_dim: int) -> None:
    """Raises ``InputError`` unless features (B, T, F), positions and mask fit and each clip has a frame."""
    if features.ndim != 3 or features.shape[2] != feature_dim:
        raise InputError(f"features have shape {tuple(features.shape)}; give (clips, frames, {feature_dim})")
    if not features.is_floating_point():
        raise InputError(f"features are {features.dtype}; give a float type")
    if features.shape[1] == 0:
        raise InputError("the clips have no frames; give at least one")
    check_positions_and_mask(positions, mask, features.shape[:2])


def check_positions_and_mask(positions: Tensor | None, mask: Tensor | None, shape: torch.Size) -> None:
    """Raises ``InputError`` unless both are None or of ``shape`` (B, T), and each clip has a real frame."""
    for name, given in (("positions", positions), ("mask", mask)):
        if given is not None and given.shape != shape:
            raise InputError(f"{name} have shape {tuple(given.shape)}; the frames need {tuple(shape)}")
    if positions is not None:
        if positions.is_floating_point() or positions.is_complex() or positions.dtype == torch.bool:
            raise InputError(
                f"positions are {positions.dtype}; give whole numbers: frame indices, or "
                "round(seconds × position_rate)"
            )
        if positions.numel() and positions.min() < 0:
            raise InputError(
                f"positions go down to {positions.min().item()}; the first frame of a video is 0"
            )
    if mask is not None:
        if mask.dtype != torch.bool:
            raise InputError(f"mask is {mask.dtype}; give torch.bool, True where a frame is real")
        empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
        if empty:
            raise InputError(f"clips {empty} of the batch have no real frame; leave them out")


def check_state(state: Tensor, features: Tensor, mask: Tensor | None) -> None:
    """Raises ``NotFiniteError`` where a result of evaluation (B, D) is not finite, and says what made it so.

    One bad frame reaches every result of its clip, so that the small result is all that needs a look. In
    training it is none: the loss shows it, and the step is skipped without a wait for the device.
    """
    if torch.compiler.is_compiling() or state.is_meta or torch.isfinite(state).all():
        return
    affected = (~torch.isfinite(state).all(dim=-1)).nonzero().flatten().tolist()
    bad = ~torch.isfinite(features).all(dim=-1)
    clips, frames = (bad if mask is None else bad & mask).nonzero(as_tuple=True)
    if len(clips):
        raise NotFiniteError(
            f"features are NaN or infinite in {len(clips)} frames, first in frame {int(frames[0])} of clip "
            f"{int(clips[0])}; look at the frames and at the backbone's weights, or mask those frames",
            affected,
        )
    raise NotFiniteError(
        "the temporal encoder's result is NaN or infinite; its weights are, or its number type overflows",
        affected,
    )
