"""The registry of data sets and the door through which they are built."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from slowfast.datasets.annotations import Annotations, read_csv
from slowfast.datasets.original import OriginalViewReader
from slowfast.datasets.video_dataset import Reader, VideoDataset
from slowfast.datasets.views import ClipViews, TrainingViews, ViewReader, WholeVideoViews
from slowfast.registry import Registry

DATASET_REGISTRY: Registry[Callable[[Any, str], Annotations]] = Registry("data set", "TRAIN.DATASET")
"""Readers of annotations: ``(cfg, split) -> Annotations``, where split is "train", "val" or "test"."""


@DATASET_REGISTRY.register("kinetics")
def kinetics(cfg: Any, split: str) -> Annotations:
    """``train.csv``, ``val.csv``, ``test.csv`` of lines ``path label`` in a folder; or one such file."""
    path = cfg.DATA.PATH_TO_DATA_DIR
    if not os.path.isfile(path):
        path = os.path.join(path, f"{split}.csv")
    return read_csv(
        path,
        num_classes=cfg.MODEL.NUM_CLASSES,
        separator=cfg.DATA.PATH_LABEL_SEPARATOR,
        prefix=cfg.DATA.PATH_PREFIX,
        multi_label=cfg.DATA.MULTI_LABEL,
    )


def build_dataset(cfg: Any, split: str, *, position_rate: float | None = None) -> VideoDataset:
    """Builds the data set of a split ("train", "val", "test"); see :class:`VideoDataset` for its items.

    Args:
        position_rate: the model's; None: positions are frame indices.

    Raises:
        ConfigError: for an unknown name.
        AnnotationError: for annotations that cannot be read.
    """
    name = cfg.TEST.DATASET if split == "test" else cfg.TRAIN.DATASET
    annotations = DATASET_REGISTRY.get(name)(cfg, split)
    scheme = _scheme(cfg, split)
    reader: Reader
    if cfg.DATA.ORIGINAL_SEMANTICS and not isinstance(scheme, TrainingViews):
        reader = OriginalViewReader(scheme)
    else:
        reader = ViewReader(scheme, position_rate, cfg.DATA.DECODING_BACKEND)
    return VideoDataset(
        annotations,
        reader,
        num_temporal=scheme.num_temporal,
        num_crops=scheme.num_crops,
        substitute=split == "train",
        seed=cfg.RNG_SEED,
        shuffle_frames=split == "test" and cfg.TEST.SHUFFLE_FRAMES,
        reverse_channels=cfg.DATA.REVERSE_INPUT_CHANNEL,
    )


def _scheme(cfg: Any, split: str) -> TrainingViews | ClipViews | WholeVideoViews:
    """The views of a split, as PySlowFast sizes them; val is a test with one view."""
    data = cfg.DATA
    if split == "train":
        return TrainingViews(
            num_frames=data.NUM_FRAMES,
            sampling_rate=data.SAMPLING_RATE,
            target_fps=data.TARGET_FPS,
            short_sides=(data.TRAIN_JITTER_SCALES[0], data.TRAIN_JITTER_SCALES[1]),
            crop_size=data.TRAIN_CROP_SIZE,
            flip=data.RANDOM_FLIP,
            inverse_uniform=data.INV_UNIFORM_SAMPLE,
        )
    crops = cfg.TEST.NUM_SPATIAL_CROPS if split == "test" else 1
    short_side = data.TEST_CROP_SIZE if crops > 1 else min(data.TRAIN_JITTER_SCALES)
    if cfg.TRAIN.EVAL_FULL_VIDEO:
        return WholeVideoViews(
            num_frames=cfg.TRAIN.EVAL_NUM_FRAMES,
            target_fps=data.TARGET_FPS,
            short_side=short_side,
            crop_size=data.TEST_CROP_SIZE,
            num_crops=crops,
        )
    return ClipViews(
        num_frames=data.NUM_FRAMES,
        sampling_rate=data.SAMPLING_RATE,
        target_fps=data.TARGET_FPS,
        short_side=short_side,
        crop_size=data.TEST_CROP_SIZE,
        num_temporal=cfg.TEST.NUM_ENSEMBLE_VIEWS if split == "test" else 1,
        num_crops=crops,
        centre=split == "val",
    )
