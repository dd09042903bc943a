"""Checks of the keys by which features take the place of frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any


def check_features(cfg: Any) -> Iterator[str]:
    """Yields the problems of ``DATA.FEATURES``, and of data sets of features."""
    data = cfg.DATA
    files = [name for name in ("TRAIN", "TEST") if cfg[name].ENABLE and cfg[name].DATASET == "features"]
    if data.FEATURES and files:
        yield (
            f"DATA.FEATURES = {data.FEATURES!r}: is a cache of videos' features, but {files[0]}.DATASET = "
            "'features' lists files of features; use one of the two"
        )
    if not data.FEATURES and not files:
        return
    where = f"DATA.FEATURES = {data.FEATURES!r}" if data.FEATURES else f"{files[0]}.DATASET = 'features'"
    for key, used in {
        "AUG.ENABLE": cfg.TRAIN.ENABLE and cfg.AUG.ENABLE,
        "MIXUP.ENABLE": cfg.TRAIN.ENABLE and cfg.MIXUP.ENABLE,
        "DATA.ORIGINAL_SEMANTICS": data.ORIGINAL_SEMANTICS,
    }.items():
        if used:
            yield f"{key} = True: works on pixels, and {where} gives features; set it False"
    if data.FEATURES and data.FEATURES_FPS > 0:
        yield from _check_rate(cfg)


def check_feature_cache(cfg: Any) -> Iterator[str]:
    """Yields what a run lacks of its feature cache."""
    if cfg.DATA.FEATURES and not Path(cfg.DATA.FEATURES, "manifest.json").is_file():
        yield (
            f"DATA.FEATURES = {cfg.DATA.FEATURES!r}: has no manifest.json; make the cache with "
            "tools/extract_features.py, or set the key to ''"
        )


def _check_rate(cfg: Any) -> Iterator[str]:
    """Features that are too far apart would give views of fewer frames than frames do."""
    data = cfg.DATA
    whole = cfg.TRAIN.EVAL_FULL_VIDEO
    wanted = {}
    if cfg.TRAIN.ENABLE or (cfg.TEST.ENABLE and not whole):
        wanted["clips take DATA.TARGET_FPS / DATA.SAMPLING_RATE"] = data.TARGET_FPS / data.SAMPLING_RATE
    if whole and cfg.TRAIN.EVAL_NUM_FRAMES == 0:
        wanted["whole videos are shown at DATA.TARGET_FPS"] = float(data.TARGET_FPS)
    for what, rate in wanted.items():
        if rate > data.FEATURES_FPS:
            yield (
                f"DATA.FEATURES_FPS = {data.FEATURES_FPS:g}: is too few, as {what} = {rate:g} a second; "
                "extract at that rate or more, or change those keys"
            )
