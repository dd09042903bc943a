"""The frames that a model needs: settings left to the model, and a check of all others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fvcore.common.config import CfgNode

from slowfast.config.check import check
from slowfast.datasets.clip import Normalization
from slowfast.errors import ConfigError
from slowfast.log import get_logger, log_once
from slowfast.models.capabilities import (
    ChecksFrameSize,
    HasFrameInterpolation,
    HasFrameMultiple,
    HasFrameSize,
    HasPublishedWeights,
    clip_grid_of,
)

logger = get_logger(__name__)

_CROPS = ("TRAIN_CROP_SIZE", "TEST_CROP_SIZE")

# Width / height of the pictures that a model is asked about before any video is opened.
_WIDE = 16 / 9


def adopt_frame_format(cfg: CfgNode, model: Any) -> CfgNode:
    """Returns the configuration with the model's own frame size, frame rate and normalisation filled in.

    The crop size is filled in where ``DATA.TRAIN_CROP_SIZE`` or ``TEST_CROP_SIZE`` is 0, the others where
    ``DATA.INTERPOLATION`` or ``NORMALIZATION`` is ``backbone``, and ``DATA.TEST_PICTURE_MULTIPLE`` where
    whole pictures are tested and it is 0. For models that encode clips, ``DATA.NUM_FRAMES`` 0 becomes the
    length of a clip, ``DATA.SAMPLING_RATE`` 0 the frame rate of their training as ``DATA.TARGET_FPS``, and so
    does ``DATA.FEATURES_FPS`` 0 for a cache of features. Sizes that the model does not accept are found here,
    before any video is opened. Where published weights were trained with frames of another format than the
    configuration sets, a line is logged.

    Args:
        model: a :class:`slowfast.models.capabilities.VideoModel`; it may also have the capabilities
            ``HasFrameSize``, ``HasFrameInterpolation``, ``HasPublishedWeights``, ``HasFrameMultiple``,
            ``ChecksFrameSize`` and ``EncodesClips``.

    Raises:
        ConfigError: with all settings that do not fit the model.
    """
    adopted = cfg.clone()
    adopted.defrost()
    problems = _adopt_clips(adopted.DATA, model)
    own_size = model.frame_size if isinstance(model, HasFrameSize) else None
    for key in _CROPS:
        if adopted.DATA[key] == 0:
            adopted.DATA[key] = own_size or 0
            if adopted.DATA[key] == 0:
                problems.append(f"DATA.{key} = 0: must be above 0 for a model without a size of its own")
    if isinstance(model, HasPublishedWeights) and model.has_published_weights:
        _log_foreign_format(cfg.DATA, model)
    if adopted.DATA.INTERPOLATION == "backbone":
        adopted.DATA.INTERPOLATION = (
            model.frame_interpolation if isinstance(model, HasFrameInterpolation) else "bilinear"
        )
    if adopted.DATA.NORMALIZATION == "backbone":
        adopted.DATA.MEAN, adopted.DATA.STD = list(model.frame_mean), list(model.frame_std)
    if adopted.DATA.TEST_WHOLE_PICTURE and adopted.DATA.TEST_PICTURE_MULTIPLE == 0:
        # Models without a multiple are reported by _check_pictures.
        adopted.DATA.TEST_PICTURE_MULTIPLE = _frame_multiple(model) or 0
    adopted.freeze()
    if problems := problems or [
        *check(adopted),
        *_check_sizes(adopted, model),
        *_check_pictures(adopted, model),
    ]:
        raise ConfigError(*problems)
    return adopted


def _log_foreign_format(data: CfgNode, model: Any) -> None:
    """Logs in which way frames differ from those that published weights were trained with."""
    own = list(model.frame_mean), list(model.frame_std)
    used = list(data.MEAN), list(data.STD)
    if data.NORMALIZATION == "data" and used != own:
        log_once(
            logger,
            f"frames have mean {used[0]} and deviation {used[1]}, those of the model's published weights "
            f"{_rounded(own[0])} and {_rounded(own[1])}: use DATA.NORMALIZATION backbone for the latter",
        )
    interpolation = model.frame_interpolation if isinstance(model, HasFrameInterpolation) else ""
    if interpolation and data.INTERPOLATION not in ("backbone", interpolation):
        log_once(
            logger,
            f"frames are scaled by {data.INTERPOLATION} interpolation, those of the model's published "
            f"weights by {interpolation}: use DATA.INTERPOLATION backbone for the latter",
        )


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 4) for value in values]


def _adopt_clips(data: CfgNode, model: Any) -> list[str]:
    """Fills in number and rate of the frames in ``DATA``; returns the problems of keys that stay 0."""
    grid = clip_grid_of(model)
    frames, rate = (0, 0.0) if grid is None else (grid.frames, grid.fps)
    if data.NUM_FRAMES == 0:
        data.NUM_FRAMES = frames
    if data.SAMPLING_RATE == 0 and rate:
        data.TARGET_FPS, data.SAMPLING_RATE = rate, 1
    if data.FEATURES and data.FEATURES_FPS == 0:
        data.FEATURES_FPS = rate
    return [
        f"DATA.{key} = 0: must be 1 or more for {type(model).__name__}; 0 is for models that encode clips "
        "and whose training clips are known"
        for key in ("NUM_FRAMES", "SAMPLING_RATE")
        if data[key] == 0
    ]


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


def _frame_multiple(model: Any) -> int | None:
    return model.frame_multiple if isinstance(model, HasFrameMultiple) else None


def _check_pictures(cfg: CfgNode, model: Any) -> Iterator[str]:
    """Yields why the model does not accept whole pictures, where the configuration asks for them."""
    data, multiple = cfg.DATA, _frame_multiple(model)
    if not data.TEST_WHOLE_PICTURE:
        return
    refused = f"DATA.TEST_WHOLE_PICTURE = True: must be False for {type(model).__name__}"
    if not isinstance(model, HasFrameMultiple):
        yield (
            f"{refused}, which does not state that it accepts frames of any size; if it does, give it an "
            "attribute frame_multiple, the pixels of which both sides must be multiples"
        )
        return
    wide = round(data.TEST_CROP_SIZE * _WIDE)
    problem_of = model.frame_size_problem if isinstance(model, ChecksFrameSize) else lambda *size: ""
    if multiple is None:
        detail = problem_of(data.TEST_CROP_SIZE, wide)
        yield f"{refused}, which accepts frames of one size" + (f": {detail}" if detail else "")
        return
    if data.TEST_PICTURE_MULTIPLE % multiple:
        yield (
            f"DATA.TEST_PICTURE_MULTIPLE = {data.TEST_PICTURE_MULTIPLE}: must be a multiple of {multiple}, "
            f"which {type(model).__name__} needs; use 0 for {multiple}"
        )
        return
    wide -= wide % data.TEST_PICTURE_MULTIPLE
    for size in ((data.TEST_CROP_SIZE, wide), (wide, data.TEST_CROP_SIZE)):
        if problem := problem_of(*size):
            yield f"{refused}: {problem}"
            return


def frame_normalization(cfg: CfgNode, model: Any) -> Normalization:
    """Returns the normalisation of frames: the model's own, or ``DATA.MEAN`` and ``STD``.

    ``DATA.NORMALIZATION`` decides between the two.
    """
    if cfg.DATA.NORMALIZATION == "backbone":
        return own_normalization(model)
    return Normalization(tuple(cfg.DATA.MEAN), tuple(cfg.DATA.STD))


def own_normalization(model: Any) -> Normalization:
    """Returns the normalisation of the frames that a model was made for."""
    return Normalization(tuple(model.frame_mean), tuple(model.frame_std))
