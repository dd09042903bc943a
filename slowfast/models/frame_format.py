"""The frame format that a model needs: settings left to the model, and a check of all others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fvcore.common.config import CfgNode

from slowfast.config.check import check
from slowfast.errors import ConfigError
from slowfast.models.capabilities import ChecksFrameSize, HasFrameInterpolation, HasFrameSize

_CROPS = ("TRAIN_CROP_SIZE", "TEST_CROP_SIZE")


def adopt_frame_format(cfg: CfgNode, model: Any) -> CfgNode:
    """Returns the configuration with the model's own crop size, interpolation and normalisation filled in.

    The crop size is filled in where ``DATA.TRAIN_CROP_SIZE`` or ``TEST_CROP_SIZE`` is 0, the others where
    ``DATA.INTERPOLATION`` or ``NORMALIZATION`` is ``backbone``. Sizes that the model does not accept are
    found here, before any video is opened.

    Args:
        model: a :class:`slowfast.models.capabilities.VideoModel`; it may also have the capabilities
            ``HasFrameSize``, ``HasFrameInterpolation`` and ``ChecksFrameSize``.

    Raises:
        ConfigError: with all settings that do not fit the model.
    """
    adopted = cfg.clone()
    adopted.defrost()
    problems = []
    own_size = model.frame_size if isinstance(model, HasFrameSize) else None
    for key in _CROPS:
        if adopted.DATA[key] == 0:
            adopted.DATA[key] = own_size or 0
            if adopted.DATA[key] == 0:
                problems.append(f"DATA.{key} = 0: must be above 0 for a model without a size of its own")
    if adopted.DATA.INTERPOLATION == "backbone":
        adopted.DATA.INTERPOLATION = (
            model.frame_interpolation if isinstance(model, HasFrameInterpolation) else "bilinear"
        )
    if adopted.DATA.NORMALIZATION == "backbone":
        adopted.DATA.MEAN, adopted.DATA.STD = list(model.frame_mean), list(model.frame_std)
    adopted.freeze()
    if problems := problems or [*check(adopted), *_check_sizes(adopted, model)]:
        raise ConfigError(*problems)
    return adopted


def _check_sizes(cfg: CfgNode, model: Any) -> Iterator[str]:
    """Yields one sentence per crop size in use that the model does not accept."""
    if not isinstance(model, ChecksFrameSize):
        return
    # Validation during training crops to the size of testing.
    used = {"TRAIN_CROP_SIZE": cfg.TRAIN.ENABLE, "TEST_CROP_SIZE": cfg.TRAIN.ENABLE or cfg.TEST.ENABLE}
    for key in _CROPS:
        size = cfg.DATA[key]
        if used[key] and (problem := model.frame_size_problem(size, size)):
            yield f"DATA.{key} = {size}: {problem}"


def frame_normalization(cfg: CfgNode, model: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation per channel: the model's own, or ``DATA.MEAN`` and ``STD``.

    ``DATA.NORMALIZATION`` decides between the two.
    """
    if cfg.DATA.NORMALIZATION == "backbone":
        return tuple(model.frame_mean), tuple(model.frame_std)
    return tuple(cfg.DATA.MEAN), tuple(cfg.DATA.STD)
