"""Checks of the keys about labels, pixels, augmentation, views of videos, and features in place of frames."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from fvcore.common.config import CfgNode

from slowfast.config.derived import trains_on_features
from slowfast.config.values import value_of
from slowfast.registry import registry_of

# timm's name of a RandAugment policy, such as rand-m9-mstd0.5-inc1.
_RAND_AUGMENT = re.compile(r"rand(-(m\d+|n\d+|p[\d.]+|mstd[\d.]+|mmax\d+|inc[01]))*")

_BRIGHTEST = 1000  # no mean or deviation is larger, even where full brightness is 255
# Keys of a least and a largest number, or of an empty list -> the limit of the numbers; None: no limit.
_RANGES = {
    "DATA.TRAIN_JITTER_SCALES_RELATIVE": 1.0,
    "DATA.TRAIN_JITTER_ASPECT_RELATIVE": None,
    "DATA.TRAIN_JITTER_NUM_FRAMES": None,
    "DATA.TRAIN_JITTER_DURATION": 1.0,
}


def check_labels(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of a loss or of scores that do not fit the labels of the training set."""
    loss = cfg.MODEL.LOSS_FUNC
    losses: Any = registry_of("MODEL.LOSS_FUNC")
    if loss not in losses:  # reported by check_names
        return
    forms = losses.forms_of(loss)
    takes_values = forms.labels == "values"
    mixed = cfg.TRAIN.ENABLE and cfg.MIXUP.ENABLE
    if cfg.DATA.MULTI_LABEL and not takes_values:
        yield (
            f"MODEL.LOSS_FUNC = {loss!r}: must take one value per class where DATA.MULTI_LABEL is True; "
            "use bce_logit (and MODEL.HEAD_ACT sigmoid)"
        )
    if cfg.DATA.MULTI_LABEL and forms.independent and cfg.MODEL.HEAD_ACT == "softmax":
        yield (
            "MODEL.HEAD_ACT = 'softmax': must score each class on its own where DATA.MULTI_LABEL is True and "
            f"MODEL.LOSS_FUNC is {loss}; use sigmoid"
        )
    if mixed and not takes_values:
        yield (
            f"MODEL.LOSS_FUNC = {loss!r}: must take one value per class where MIXUP.ENABLE mixes clips; use "
            f"{forms.soft or 'soft_cross_entropy'}"
        )
    if cfg.TRAIN.ENABLE and not (cfg.DATA.MULTI_LABEL or mixed) and takes_values:
        yield (
            f"MODEL.LOSS_FUNC = {loss!r}: must take class indices where DATA.MULTI_LABEL is False; "
            "use cross_entropy, or set MIXUP.ENABLE True, or DATA.MULTI_LABEL True for several classes"
        )


def check_num_classes(cfg: CfgNode) -> Iterator[str]:
    """Yields the problem of a training whose videos all have the same label, of which any model is right."""
    if cfg.TRAIN.ENABLE and cfg.MODEL.NUM_CLASSES == 1 and not cfg.DATA.MULTI_LABEL:
        yield (
            "MODEL.NUM_CLASSES = 1: must be 2 or more where each video has one class; for the presence of a "
            "single one use 2 classes, or DATA.MULTI_LABEL True with MODEL.LOSS_FUNC bce_logit"
        )


def check_pixels(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of lists of files, of normalisation, and of the size of training frames."""
    data = cfg.DATA
    if len(data.PATH_LABEL_SEPARATOR.encode()) != 1:
        yield (
            f"DATA.PATH_LABEL_SEPARATOR = {data.PATH_LABEL_SEPARATOR!r}: must be one ASCII character; give "
            "the one between path and label, such as ' '"
        )
    for key, values in (("DATA.MEAN", data.MEAN), ("DATA.STD", data.STD)):
        if len(values) != 3:
            yield f"{key} = {values}: must have three values, one per colour channel"
        if not all(abs(value) <= _BRIGHTEST for value in values):  # NaN is not either
            yield f"{key} = {values}: must be numbers up to {_BRIGHTEST}; give fractions of full brightness"
    if any(value <= 0 for value in data.STD):
        yield f"DATA.STD = {data.STD}: must be above 0; give fractions of full brightness"
    if any(channels != 3 for channels in data.INPUT_CHANNEL_NUM) or not data.INPUT_CHANNEL_NUM:
        yield f"DATA.INPUT_CHANNEL_NUM = {data.INPUT_CHANNEL_NUM}: must be 3 per pathway; use [3]"
    scales = data.TRAIN_JITTER_SCALES
    if len(scales) != 2 or not 0 < scales[0] <= scales[-1]:
        yield (
            f"DATA.TRAIN_JITTER_SCALES = {scales}: must be the smallest and largest short side, "
            "such as [256, 320]"
        )
    elif cfg.TRAIN.ENABLE and not data.TRAIN_JITTER_SCALES_RELATIVE and scales[0] < data.TRAIN_CROP_SIZE:
        yield (
            f"DATA.TRAIN_CROP_SIZE = {data.TRAIN_CROP_SIZE}: must not exceed the smallest short side of "
            f"DATA.TRAIN_JITTER_SCALES = {scales}; use a smaller crop or larger scales"
        )


def check_views(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of the views of videos that are evaluated, and of their groups."""
    yield from _check_test_crops(cfg)
    try:
        re.compile(cfg.TEST.GROUP_BY)
    except re.error as error:
        yield f"TEST.GROUP_BY = {cfg.TEST.GROUP_BY!r}: must be a regular expression ({error})"
    if cfg.TEST.ENABLE and cfg.TRAIN.EVAL_FULL_VIDEO and cfg.TEST.NUM_ENSEMBLE_VIEWS > 1:
        yield (
            f"TEST.NUM_ENSEMBLE_VIEWS = {cfg.TEST.NUM_ENSEMBLE_VIEWS}: must be 1 for full videos; use 1, or "
            "set TRAIN.EVAL_FULL_VIDEO False to test on clips"
        )
    if cfg.TEST.ENABLE and cfg.TEST.ORDER_REPORT:
        yield from _check_order_report(cfg)


def _check_test_crops(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of the size of crops and whole pictures."""
    scales, crops = cfg.DATA.TRAIN_JITTER_SCALES, cfg.TEST.NUM_SPATIAL_CROPS
    # A single crop is cut from frames of the smaller training scale; several crops, and whole pictures, from
    # frames whose short side is the crop size. Validation uses a single crop.
    whole = cfg.DATA.TEST_WHOLE_PICTURE
    single_crop = cfg.TRAIN.ENABLE or (cfg.TEST.ENABLE and crops == 1 and not whole)
    if single_crop and scales and scales[0] < cfg.DATA.TEST_CROP_SIZE:
        yield (
            f"DATA.TEST_CROP_SIZE = {cfg.DATA.TEST_CROP_SIZE}: must not exceed the short side {scales[0]} "
            f"of evaluated frames (DATA.TRAIN_JITTER_SCALES = {scales}); use a smaller crop or larger scales"
        )
    if cfg.TEST.ENABLE and whole and crops > 1:
        yield (
            f"TEST.NUM_SPATIAL_CROPS = {crops}: must be 1 where DATA.TEST_WHOLE_PICTURE is True, since one "
            "view shows the whole picture; use 1, or set DATA.TEST_WHOLE_PICTURE False"
        )
    if whole and cfg.DATA.ORIGINAL_SEMANTICS:
        yield (
            "DATA.TEST_WHOLE_PICTURE = True: must be False where DATA.ORIGINAL_SEMANTICS is True, since the "
            "original tests on square crops; set one of them False"
        )
    multiple, size = cfg.DATA.TEST_PICTURE_MULTIPLE, cfg.DATA.TEST_CROP_SIZE
    if whole and multiple > 0 and size % multiple:
        yield (
            f"DATA.TEST_CROP_SIZE = {size}: must be a multiple of DATA.TEST_PICTURE_MULTIPLE = {multiple}, "
            f"since it is the short side of whole pictures; use {size // multiple * multiple or multiple}"
        )


def _check_order_report(cfg: CfgNode) -> Iterator[str]:
    if cfg.TEST.SHUFFLE_FRAMES:
        yield (
            "TEST.ORDER_REPORT = True: must be False where TEST.SHUFFLE_FRAMES is True, since it compares "
            "with the frames as they are; set one of them False"
        )
    if cfg.DATA.MULTI_LABEL:
        yield (
            "TEST.ORDER_REPORT = True: must be False where DATA.MULTI_LABEL is True, since it counts videos "
            "of one class each; set it False"
        )


def check_augmentation(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of augmentation and mixing."""
    if cfg.AUG.AA_TYPE and not _RAND_AUGMENT.fullmatch(cfg.AUG.AA_TYPE):
        yield (
            f"AUG.AA_TYPE = {cfg.AUG.AA_TYPE!r}: must be a RandAugment policy such as rand-m9-mstd0.5-inc1; "
            "use '' for colour jitter alone"
        )
    if cfg.AUG.NUM_SAMPLE > 1 and not (cfg.AUG.ENABLE or trains_on_features(cfg)):
        yield (
            f"AUG.NUM_SAMPLE = {cfg.AUG.NUM_SAMPLE}: must be 1 without augmentation; set AUG.ENABLE True, "
            "or use 1"
        )
    if cfg.MIXUP.ENABLE and cfg.MIXUP.ALPHA == cfg.MIXUP.CUTMIX_ALPHA == 0:
        yield (
            "MIXUP.ALPHA = 0: must be above 0 where MIXUP.CUTMIX_ALPHA is 0 too; set one of them, or "
            "MIXUP.ENABLE False"
        )
    for key, largest in _RANGES.items():
        values = value_of(cfg, key)
        if values and (len(values) != 2 or not 0 < values[0] <= values[1] <= (largest or values[1])):
            limit = " and at most 1" if largest else ""
            yield (
                f"{key} = {values}: must be the least and the largest value, above 0{limit}; use [] to "
                "switch it off"
            )
    yield from _check_clip_jitter(cfg)


def _check_clip_jitter(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of random numbers of frames and random durations of training clips."""
    counts, durations = cfg.DATA.TRAIN_JITTER_NUM_FRAMES, cfg.DATA.TRAIN_JITTER_DURATION
    if any(not isinstance(count, int) for count in counts):
        yield f"DATA.TRAIN_JITTER_NUM_FRAMES = {counts}: must be numbers of frames, such as [12, 16]"
    if durations and cfg.TRAIN.ENABLE and not cfg.TRAIN.FULL_VIDEO:
        yield (
            f"DATA.TRAIN_JITTER_DURATION = {durations}: must be [] where TRAIN.FULL_VIDEO is False, since "
            "such clips start at a random time; set TRAIN.FULL_VIDEO True, or use []"
        )


def check_features(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of ``DATA.FEATURES`` and of the data set "features"."""
    data = cfg.DATA
    files = [name for name in ("TRAIN", "TEST") if cfg[name].ENABLE and cfg[name].DATASET == "features"]
    if data.FEATURES and files:
        yield (
            f"DATA.FEATURES = {data.FEATURES!r}: must be '' where {files[0]}.DATASET = 'features' lists "
            "files of features; use either the cache of features or the files"
        )
    if not data.FEATURES and not files:
        return
    source = f"DATA.FEATURES = {data.FEATURES!r}" if data.FEATURES else f"{files[0]}.DATASET = 'features'"
    for key, used in {
        "AUG.ENABLE": cfg.TRAIN.ENABLE and cfg.AUG.ENABLE,
        "DATA.ORIGINAL_SEMANTICS": data.ORIGINAL_SEMANTICS,
        # A cache holds features of whole pictures, too; files of other programs are taken as they are.
        "DATA.TEST_WHOLE_PICTURE": data.TEST_WHOLE_PICTURE and "TEST" in files,
    }.items():
        if used:
            yield f"{key} = True: needs pixels, and {source} gives features; set it False"
    if cfg.TRAIN.ENABLE and cfg.MIXUP.ENABLE and cfg.MIXUP.CUTMIX_ALPHA > 0:
        yield (
            f"MIXUP.CUTMIX_ALPHA = {cfg.MIXUP.CUTMIX_ALPHA}: needs pixels, and {source} gives features; set "
            "it 0 for mixup alone"
        )
    # A rate of 0 is left to the model.
    if data.FEATURES and data.FEATURES_FPS > 0 and data.SAMPLING_RATE > 0:
        yield from _check_feature_rate(cfg)


def check_feature_cache(cfg: CfgNode) -> Iterator[str]:
    """Yields the problem of a feature cache that does not exist."""
    if cfg.DATA.FEATURES and not os.path.isfile(os.path.join(cfg.DATA.FEATURES, "manifest.json")):
        yield (
            f"DATA.FEATURES = {cfg.DATA.FEATURES!r}: has no manifest.json; extract the features with "
            "slowfast extract, or set the key to ''"
        )


def _check_feature_rate(cfg: CfgNode) -> Iterator[str]:
    """Yields the problem of features that are fewer per second than the frames of a view would be."""
    data = cfg.DATA
    full_videos = cfg.TRAIN.EVAL_FULL_VIDEO
    needed = {}
    if (cfg.TRAIN.ENABLE and not cfg.TRAIN.FULL_VIDEO) or (cfg.TEST.ENABLE and not full_videos):
        needed["clips use DATA.TARGET_FPS / DATA.SAMPLING_RATE"] = data.TARGET_FPS / data.SAMPLING_RATE
    if full_videos and cfg.TRAIN.EVAL_NUM_FRAMES == 0:
        needed["full videos use DATA.TARGET_FPS"] = float(data.TARGET_FPS)
    for use, rate in needed.items():
        if rate > data.FEATURES_FPS:
            yield (
                f"DATA.FEATURES_FPS = {data.FEATURES_FPS:g}: must be {rate:g} or more, since {use} = "
                f"{rate:g} per second; extract at that rate or more, or change those keys"
            )
