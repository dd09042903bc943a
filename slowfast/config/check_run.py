"""Checks of what a run needs on this node: data files, weights, and a folder to write to."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast.registry import registry_of

# Data sets whose annotations are `train.csv`, `val.csv` and `test.csv` in one folder.
_CSV_DATASETS = ("kinetics", "frames", "features")


def check_inputs(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of the data files that training and testing read."""
    if not (cfg.TRAIN.ENABLE or cfg.TEST.ENABLE):
        yield "TRAIN.ENABLE = False: nothing to do, since TEST.ENABLE is False too; set one of them True"
        return
    if cfg.DATA.ORIGINAL_SEMANTICS and cfg.TRAIN.ENABLE:
        yield (
            "DATA.ORIGINAL_SEMANTICS = True: must be False in training, since it is for tests of published "
            "weights; set TRAIN.ENABLE False, or set it False"
        )
    path = Path(cfg.DATA.PATH_TO_DATA_DIR)
    key = f"DATA.PATH_TO_DATA_DIR = {cfg.DATA.PATH_TO_DATA_DIR!r}"
    purpose = "training" if cfg.TRAIN.ENABLE else "testing"
    if not cfg.DATA.PATH_TO_DATA_DIR:
        yield f"{key}: must be set for {purpose}; give the folder of the annotation files"
        return
    if not path.exists():
        yield f"{key}: does not exist; give the folder of the annotation files for {purpose}"
        return
    needed = {"train.csv": cfg.TRAIN, "val.csv": cfg.TRAIN, "test.csv": cfg.TEST}
    read = [name for name, section in needed.items() if section.ENABLE and section.DATASET in _CSV_DATASETS]
    missing = [name for name in read if not (path / name).is_file()]
    if missing and path.is_dir():
        yield f"{key}: lacks {', '.join(missing)}; write one line 'path label' per video"
    names = cfg.DATA.CLASS_NAMES
    if names and not Path(names).is_file():
        yield f"DATA.CLASS_NAMES = {names!r}: does not exist; give a json file, or ''"


def check_weights(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of checkpoints that do not exist, and of a test without weights."""
    named = {"TRAIN": cfg.TRAIN.CHECKPOINT_FILE_PATH, "TEST": cfg.TEST.CHECKPOINT_FILE_PATH}
    for section, path in named.items():
        if path and cfg[section].ENABLE and not Path(path).is_file():
            yield f"{section}.CHECKPOINT_FILE_PATH = {path!r}: does not exist; give a checkpoint or ''"
    has_own = any(Path(cfg.OUTPUT_DIR, "checkpoints").glob("*.pyth"))
    if cfg.TEST.ENABLE and not (cfg.TRAIN.ENABLE or has_own or any(named.values())):
        yield (
            "TEST.CHECKPOINT_FILE_PATH = '': must be set for a test without training, since "
            f"{cfg.OUTPUT_DIR}/checkpoints has no checkpoint; give a checkpoint, or set TRAIN.ENABLE True"
        )


def check_output(cfg: CfgNode) -> Iterator[str]:
    """Yields the problem of an output folder that cannot be made or written to."""
    folder = Path(cfg.OUTPUT_DIR).absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        yield f"OUTPUT_DIR = {cfg.OUTPUT_DIR!r}: {existing} is not a folder; choose another folder"
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield f"OUTPUT_DIR = {cfg.OUTPUT_DIR!r}: {existing} cannot be written to; choose another folder"


def check_trackers(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of trackers whose packages are not installed."""
    kinds = registry_of("TRACKERS")
    for name in cfg.TRACKERS:
        if name not in kinds:  # reported by check_names
            continue
        package = kinds.get(name).package
        if package and importlib.util.find_spec(package) is None:
            yield (
                f"TRACKERS = {list(cfg.TRACKERS)}: must be installed trackers, and {package} is not; run "
                f"`pip install {package}`, or leave {name} out"
            )
