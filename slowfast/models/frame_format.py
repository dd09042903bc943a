"""How a model wants its frames: what a configuration leaves to the model, and whether the rest suits it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from slowfast.config.check import check
from slowfast.errors import ConfigError

_CROPS = ("TRAIN_CROP_SIZE", "TEST_CROP_SIZE")


def adopt_frame_format(cfg: Any, model: Any) -> Any:
    """Returns the configuration with the model's own crop size, interpolation and normalisation filled in.

    That is where ``DATA.TRAIN_CROP_SIZE`` or ``TEST_CROP_SIZE`` is 0, and where ``DATA.INTERPOLATION`` or
    ``NORMALIZATION`` is ``backbone``. Sizes that the model cannot take are found here, before any video is
    opened.

    Args:
        model: may have ``frame_size``, ``frame_interpolation`` and ``frame_size_problem``; see
            :class:`slowfast.models.build.VideoModel`.

    Raises:
        ConfigError: with all that does not suit the model.
    """
    adopted = cfg.clone()
    adopted.defrost()
    problems = []
    for key in _CROPS:
        if adopted.DATA[key] == 0:
            adopted.DATA[key] = getattr(model, "frame_size", None) or 0
            if adopted.DATA[key] == 0:
                problems.append(f"DATA.{key} = 0: the model does not say a size; give pixels")
    if adopted.DATA.INTERPOLATION == "backbone":
        adopted.DATA.INTERPOLATION = getattr(model, "frame_interpolation", "bilinear")
    if adopted.DATA.NORMALIZATION == "backbone":
        adopted.DATA.MEAN, adopted.DATA.STD = list(model.frame_mean), list(model.frame_std)
    adopted.freeze()
    if problems := problems or [*check(adopted), *_unfit_sizes(adopted, model)]:
        raise ConfigError(*problems)
    return adopted


def _unfit_sizes(cfg: Any, model: Any) -> Iterator[str]:
    if not hasattr(model, "frame_size_problem"):
        return
    # Validation during training shows crops of the test's size.
    used = {"TRAIN_CROP_SIZE": cfg.TRAIN.ENABLE, "TEST_CROP_SIZE": cfg.TRAIN.ENABLE or cfg.TEST.ENABLE}
    for key in _CROPS:
        size = cfg.DATA[key]
        if used[key] and (problem := model.frame_size_problem(size, size)):
            yield f"DATA.{key} = {size}: {problem}"
