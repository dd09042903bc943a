"""The views of a split and the augmentation of training clips, as a configuration describes them."""

from __future__ import annotations

from collections.abc import Sequence

from fvcore.common.config import CfgNode

from slowfast.datasets.views.augment import Augmentation
from slowfast.datasets.views.view_reader import ClipViews, TrainingViews, WholeVideoViews
from slowfast.errors import ConfigError


def build_augmentation(cfg: CfgNode) -> Augmentation | None:
    """Returns the augmentation of training clips; None where it is off."""
    if not cfg.AUG.ENABLE:
        return None
    return Augmentation(
        auto_augment=cfg.AUG.AA_TYPE,
        interpolation=cfg.AUG.INTERPOLATION,
        color_jitter=0.0 if cfg.AUG.AA_TYPE else cfg.AUG.COLOR_JITTER,
        erase_prob=cfg.AUG.RE_PROB,
        erase_mode=cfg.AUG.RE_MODE,
        erase_count=cfg.AUG.RE_COUNT,
        mean=cfg.DATA.MEAN,
        std=cfg.DATA.STD,
    )


def _range(values: Sequence[float]) -> tuple[float, float] | None:
    """Returns the least and the largest value; None for an empty list."""
    return (values[0], values[1]) if values else None


def _check_resolved(data: CfgNode) -> None:
    """Raises ``ConfigError`` where a size or the interpolation is left to the model."""
    sizes = ["TRAIN_CROP_SIZE", "TEST_CROP_SIZE"]
    sizes += ["TEST_PICTURE_MULTIPLE"] if data.TEST_WHOLE_PICTURE else []
    if data.INTERPOLATION == "backbone" or 0 in [data[key] for key in sizes]:
        values = ", ".join(f"DATA.{key} = {data[key]!r}" for key in ("INTERPOLATION", *sizes))
        raise ConfigError(
            f"{values}: must not be left to the model here; pass the configuration that "
            "slowfast.models.frame_format.adopt_frame_format returns"
        )


def build_views(cfg: CfgNode, split: str) -> TrainingViews | ClipViews | WholeVideoViews:
    """Returns the views of a split, in the sizes that PySlowFast uses; "val" has one view per video.

    Raises:
        ConfigError: where a size or the interpolation is left to the model and not resolved.
    """
    data = cfg.DATA
    _check_resolved(data)
    if split == "train":
        return TrainingViews(
            num_frames=data.NUM_FRAMES,
            sampling_rate=data.SAMPLING_RATE,
            target_fps=data.TARGET_FPS,
            short_sides=(data.TRAIN_JITTER_SCALES[0], data.TRAIN_JITTER_SCALES[1]),
            crop_size=data.TRAIN_CROP_SIZE,
            flip=data.RANDOM_FLIP,
            inverse_uniform=data.INV_UNIFORM_SAMPLE,
            crop_area=_range(data.TRAIN_JITTER_SCALES_RELATIVE),
            crop_aspect=_range(data.TRAIN_JITTER_ASPECT_RELATIVE) or (3 / 4, 4 / 3),
            interpolation=data.INTERPOLATION,
            full_video=cfg.TRAIN.FULL_VIDEO,
            frames_range=_range(data.TRAIN_JITTER_NUM_FRAMES),
            duration_range=_range(data.TRAIN_JITTER_DURATION),
        )
    crops = cfg.TEST.NUM_SPATIAL_CROPS if split == "test" else 1
    multiple = data.TEST_PICTURE_MULTIPLE if split == "test" and data.TEST_WHOLE_PICTURE else 0
    short_side = data.TEST_CROP_SIZE if crops > 1 or multiple else min(data.TRAIN_JITTER_SCALES)
    settings = {
        "target_fps": data.TARGET_FPS,
        "short_side": short_side,
        "crop_size": data.TEST_CROP_SIZE,
        "num_crops": crops,
        "interpolation": data.INTERPOLATION,
        "picture_multiple": multiple,
    }
    if cfg.TRAIN.EVAL_FULL_VIDEO:
        return WholeVideoViews(num_frames=cfg.TRAIN.EVAL_NUM_FRAMES, **settings)
    return ClipViews(
        num_frames=data.NUM_FRAMES,
        sampling_rate=data.SAMPLING_RATE,
        num_temporal=cfg.TEST.NUM_ENSEMBLE_VIEWS if split == "test" else 1,
        centre=split == "val",
        **settings,
    )
