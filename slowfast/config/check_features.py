"""Checks of the keys by which features replace frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fvcore.common.config import CfgNode


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
    if cfg.DATA.FEATURES and not Path(cfg.DATA.FEATURES, "manifest.json").is_file():
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
