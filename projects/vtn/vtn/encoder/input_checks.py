"""Checks of the tensors that a model is called with; each message names what to change.

B clips, T frames, M tokens of a frame, F width of a feature, D width of a state.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slowfast.errors import InputError, NotFiniteError
from slowfast.tracing import is_exporting


def check_frames(frames: Tensor, mask: Tensor | None) -> None:
    """Raises ``InputError`` unless frames are (B, 3, T, H, W) of a float dtype with at least one frame.

    Args:
        mask: must be (B, T) bool, or None.
    """
    _check_is_tensor("frames", frames)
    if frames.ndim != 5 or frames.shape[1] != 3:
        raise InputError(
            f"frames have shape {tuple(frames.shape)}: must be (clips, 3, frames, height, width)"
        )
    if not frames.is_floating_point():
        raise InputError(
            f"frames have dtype {frames.dtype}: must be a float dtype; normalise them first, see "
            "slowfast.datasets.clip.normalize"
        )
    if frames.shape[2] == 0:
        raise InputError("frames: the clips have no frames; give at least one per clip")
    if mask is not None:
        _check_mask(mask, torch.Size((frames.shape[0], frames.shape[2])))


def check_sequence(
    features: Tensor, positions: Tensor | None, mask: Tensor | None, feature_shape: tuple[int, ...]
) -> None:
    """Raises ``InputError`` unless features, positions and mask fit together and to the model.

    Args:
        features: must be (B, T, F) or (B, T, M, F) of a float dtype, with at least one frame.
        positions, mask: see :func:`check_positions_and_mask`.
        feature_shape: (F,) or (M, F).
    """
    _check_is_tensor("features", features)
    if features.shape[2:] != feature_shape:
        expected = ", ".join(map(str, feature_shape))
        raise InputError(f"features have shape {tuple(features.shape)}: must be (clips, frames, {expected})")
    if not features.is_floating_point():
        raise InputError(f"features have dtype {features.dtype}: must be a float dtype")
    if features.shape[1] == 0:
        raise InputError("features: the clips have no frames; give at least one per clip")
    check_positions_and_mask(positions, mask, features.shape[:2])


def check_positions_and_mask(positions: Tensor | None, mask: Tensor | None, shape: torch.Size) -> None:
    """Raises ``InputError`` unless positions and mask fit, where given, and each clip has a real frame.

    Their values are checked in host memory only. The loader checks those of its batches before they are
    copied to a GPU, and :func:`check_state` checks the others in evaluation. A compiled graph checks them
    when it runs, and raises torch's ``RuntimeError``; a program that runs an exported graph checks its
    inputs.

    Args:
        positions: (B, T) of an integer dtype, 0 or more.
        mask: (B, T) bool, True where a frame is real.
        shape: (B, T).
    """
    if positions is not None:
        _check_shape("positions", positions, shape)
        if positions.is_floating_point() or positions.is_complex() or positions.dtype == torch.bool:
            raise InputError(
                f"positions have dtype {positions.dtype}: must be an integer dtype; give indices of frames "
                "or round(seconds × position_rate)"
            )
        if positions.is_cpu and not is_exporting():
            _check_position_values(positions)
    if mask is not None:
        _check_mask(mask, shape)
        if mask.is_cpu and not is_exporting():
            _check_mask_values(mask)


def _check_is_tensor(name: str, given: object) -> None:
    if not isinstance(given, Tensor):
        raise InputError(f"{name}: is of type {type(given).__name__}, must be a torch.Tensor")


def _check_shape(name: str, given: Tensor, shape: torch.Size) -> None:
    _check_is_tensor(name, given)
    if given.shape != shape:
        raise InputError(f"{name}: has shape {tuple(given.shape)}, must be {tuple(shape)} like the frames")


def _check_mask(mask: Tensor, shape: torch.Size) -> None:
    _check_shape("mask", mask, shape)
    if mask.dtype != torch.bool:
        raise InputError(f"mask has dtype {mask.dtype}: must be torch.bool, True where a frame is real")


def _check_position_values(positions: Tensor) -> None:
    if torch.compiler.is_compiling():
        torch._assert_async(
            (positions >= 0).all(), "positions: must be 0 or more, where 0 is the first frame"
        )
        return
    if positions.numel() and (smallest := int(positions.min())) < 0:
        raise InputError(f"positions contain {smallest}: must be 0 or more, where 0 is the first frame")


def _check_mask_values(mask: Tensor) -> None:
    if torch.compiler.is_compiling():
        torch._assert_async(mask.any(dim=1).all(), "mask: a clip has no real frame; leave such clips out")
        return
    if empty := (~mask.any(dim=1)).nonzero().flatten().tolist():
        raise InputError(f"mask: clips {empty} of the batch have no real frame; leave these clips out")


def check_state(
    state: Tensor,
    features: Tensor,
    mask: Tensor | None,
    positions: Tensor | None = None,
    *,
    inputs: str = "features",
) -> None:
    """Raises ``NotFiniteError`` if a result is NaN or infinite, with its probable cause.

    Also raises ``InputError`` for values of positions or mask that :func:`check_positions_and_mask` has not
    looked at. All answers come from the device together, so that the host waits once.

    Only for evaluation: in training the loss is not finite either, and the step is skipped without waiting
    for the device here.

    Args:
        state: (B, D), one result per clip. Checking it is enough, and cheap, since a frame that is not finite
            makes the result of its clip not finite.
        features: (B, T, F) or (B, T, M, F) from which the results were computed.
        mask: (B, T) bool, True where a frame is real; None: all are real.
        positions: (B, T) of an integer dtype; None: 0 … T − 1.
        inputs: name of ``features`` in messages.
    """
    if torch.compiler.is_compiling() or state.is_meta:
        return
    answers = [torch.isfinite(state).all()]
    if positions is not None and not positions.is_cpu:
        answers.append((positions >= 0).all())
    if mask is not None and not mask.is_cpu:
        answers.append(mask.any(dim=1).all())
    if torch.stack(answers).all():
        return
    if positions is not None:
        _check_position_values(positions)
    if mask is not None:
        _check_mask_values(mask)
    affected = (~torch.isfinite(state).all(dim=-1)).nonzero().flatten().tolist()
    bad = ~torch.isfinite(features).flatten(2).all(dim=-1)
    clips, frames = (bad if mask is None else bad & mask).nonzero(as_tuple=True)
    if len(clips):
        raise NotFiniteError(
            f"{inputs} are NaN or infinite in {len(clips)} frames, first in frame {int(frames[0])} of clip "
            f"{int(clips[0])}; check these frames and the backbone's weights, or mask the frames",
            affected,
        )
    raise NotFiniteError(
        f"the model's result is NaN or infinite although its {inputs} are finite; check whether its weights "
        "are finite, or use a dtype of larger range",
        affected,
    )
