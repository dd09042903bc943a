"""Checks of what a run needs on this node: data files, weights, and a folder to write to."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast.config.derived import uses_tensorboard
from slowfast.config.values import value_of
from slowfast.registry import registry_of

# Data sets whose annotations are `train.csv`, `val.csv` and `test.csv` in one folder.
_CSV_DATASETS = ("kinetics", "frames", "features")


def check_inputs(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of the data files that training and testing read."""
    if not (cfg.TRAIN.ENABLE or cfg.TEST.ENABLE):
        if not cfg.DEMO.ENABLE:
            yield "TRAIN.ENABLE = False: nothing to do, since TEST.ENABLE is False too; set one of them True"
        return
    if cfg.DATA.ORIGINAL_SEMANTICS and cfg.TRAIN.ENABLE:
        yield (
            "DATA.ORIGINAL_SEMANTICS = True: must be False in training, since it is for tests of published "
            "weights; set TRAIN.ENABLE False, or set it False"
        )
    yield from _check_data_folder(cfg)
    yield from _check_file(cfg, "DATA.CLASS_NAMES", "a file of class names")


def _check_data_folder(cfg: CfgNode) -> Iterator[str]:
    """Yields the problem of the folder of the lists, or of the pattern of shards."""
    folder = cfg.DATA.PATH_TO_DATA_DIR
    key = f"DATA.PATH_TO_DATA_DIR = {folder!r}"
    purpose = "training" if cfg.TRAIN.ENABLE else "testing"
    if not folder:
        yield f"{key}: must be set for {purpose}; give the folder of the annotation files"
    elif _names_shards(cfg):  # the shards themselves are looked for by their reader
        if cfg.TRAIN.ENABLE and "{split}" not in folder:
            yield (
                f"{key}: must contain {{split}} in place of train, val or test, since validation would read "
                "the shards of training; for example shards/{split}/*.tar"
            )
    elif not os.path.exists(folder):
        yield f"{key}: does not exist; give the folder of the annotation files for {purpose}"
    elif os.path.isdir(folder) and (missing := [*_missing_lists(cfg)]):
        yield (
            f"{key}: lacks {', '.join(missing)}; write one line 'path label' per video, or set TRAIN.DATASET "
            "and TEST.DATASET to the layout of the data, such as videofolder"
        )


def _missing_lists(cfg: CfgNode) -> Iterator[str]:
    for name, section in {"train.csv": cfg.TRAIN, "val.csv": cfg.TRAIN, "test.csv": cfg.TEST}.items():
        is_read = section.ENABLE and section.DATASET in _CSV_DATASETS
        if is_read and not os.path.isfile(os.path.join(cfg.DATA.PATH_TO_DATA_DIR, name)):
            yield name


def _check_file(cfg: CfgNode, key: str, wanted: str) -> Iterator[str]:
    if (path := value_of(cfg, key)) and not os.path.isfile(path):
        yield f"{key} = {path!r}: does not exist; give {wanted}, or ''"


def _names_shards(cfg: CfgNode) -> bool:
    """Returns whether ``DATA.PATH_TO_DATA_DIR`` is a pattern of shards, or one shard."""
    path = cfg.DATA.PATH_TO_DATA_DIR
    used = [section for section in (cfg.TRAIN, cfg.TEST) if section.ENABLE]
    has_shards = all(section.DATASET == "shards" for section in used)
    return has_shards and (bool(set("{*?[") & set(path)) or path.endswith(".tar")) and not os.path.isdir(path)


def check_weights(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of checkpoints that do not exist, and of a test without weights."""
    named = {"TRAIN": cfg.TRAIN.CHECKPOINT_FILE_PATH, "TEST": cfg.TEST.CHECKPOINT_FILE_PATH}
    for section, path in named.items():
        if path and (cfg[section].ENABLE or cfg.DEMO.ENABLE) and not os.path.isfile(path):
            problem = "is a folder; give a file in it" if os.path.isdir(path) else "does not exist; give one"
            yield f"{section}.CHECKPOINT_FILE_PATH = {path!r}: must be a checkpoint, but {problem}, or ''"
    own = Path(cfg.OUTPUT_DIR, "checkpoints")
    has_own = os.path.isdir(own) and any(own.glob("*.pyth"))
    if (cfg.TEST.ENABLE or cfg.DEMO.ENABLE) and not (cfg.TRAIN.ENABLE or has_own or any(named.values())):
        yield (
            "TEST.CHECKPOINT_FILE_PATH = '': must be set for a test or demo without training, since "
            f"{cfg.OUTPUT_DIR}/checkpoints has no checkpoint; give a checkpoint, or set TRAIN.ENABLE True"
        )


def check_wrong_predictions(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of the filmstrips of wrong predictions."""
    options = cfg.TENSORBOARD.WRONG_PRED_VIS
    if not (options.ENABLE and uses_tensorboard(cfg) and cfg.TEST.ENABLE):
        return
    key = "TENSORBOARD.WRONG_PRED_VIS"
    if not options.TAG.strip():
        yield f"{key}.TAG = {options.TAG!r}: must not be empty; give the beginning of the tags"
    yield from _check_file(cfg, f"{key}.SUBSET_PATH", "a text file with one class name per line")
    if cfg.DATA.MULTI_LABEL:
        yield f"{key}.ENABLE = True: must be False for several classes per video (DATA.MULTI_LABEL True)"
    if cfg.TEST.DATASET in ("features", "frames"):
        yield (
            f"{key}.ENABLE = True: must be False for TEST.DATASET {cfg.TEST.DATASET!r}, since filmstrips are "
            "cut from video files"
        )


def check_model_view(cfg: CfgNode) -> Iterator[str]:
    """Yields the problem of a view of the model where its test reads no frames."""
    if not (cfg.TENSORBOARD.MODEL_VIS.ENABLE and uses_tensorboard(cfg) and cfg.TEST.ENABLE):
        return
    if cfg.DATA.FEATURES or cfg.TEST.DATASET == "features":
        yield (
            "TENSORBOARD.MODEL_VIS.ENABLE = True: must be False for tests of features (DATA.FEATURES, "
            "TEST.DATASET 'features'), since it shows frames; set it False, or test the videos"
        )


def check_demo(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of the video that is drawn on, and of the file that is written."""
    demo = cfg.DEMO
    if not demo.ENABLE:
        return
    if demo.WEBCAM != -1:
        yield (
            f"DEMO.WEBCAM = {demo.WEBCAM}: must be -1, since runs read files alone; give DEMO.INPUT_VIDEO, "
            "or use a prediction command that follows cameras (--live)"
        )
    if not os.path.isfile(demo.INPUT_VIDEO):
        yield f"DEMO.INPUT_VIDEO = {demo.INPUT_VIDEO!r}: must be a video file; give the path of one"
    yield from _check_file(cfg, "DEMO.LABEL_FILE_PATH", "a file of class names")
    if demo.OUTPUT_FILE:
        path = Path(demo.OUTPUT_FILE)
        if path.suffix.lower() not in (".mp4", ".mkv", ".mov"):
            yield f"DEMO.OUTPUT_FILE = {demo.OUTPUT_FILE!r}: must end in .mp4, .mkv or .mov; rename it"
        # The first two are False for text that cannot be a path, for which the last one raises an error.
        video = demo.INPUT_VIDEO
        if os.path.exists(path) and os.path.exists(video) and os.path.samefile(path, video):
            yield (
                f"DEMO.OUTPUT_FILE = {demo.OUTPUT_FILE!r}: must differ from DEMO.INPUT_VIDEO, which it would "
                "replace; choose another name"
            )
    if demo.OUTPUT_FPS != -1 and not 0 < demo.OUTPUT_FPS <= 1000:
        yield f"DEMO.OUTPUT_FPS = {demo.OUTPUT_FPS}: must be above 0 and at most 1000, or -1"
    length = cfg.DATA.NUM_FRAMES * cfg.DATA.SAMPLING_RATE
    if 0 < length <= demo.BUFFER_SIZE:
        yield (
            f"DEMO.BUFFER_SIZE = {demo.BUFFER_SIZE}: must be below DATA.NUM_FRAMES × DATA.SAMPLING_RATE = "
            f"{length:g}, the frames of a window; give a smaller overlap"
        )
    if cfg.TEST.DATASET == "features":
        yield (
            "DEMO.ENABLE = True: must be False for TEST.DATASET 'features', whose model does not take "
            "frames; use a model with a backbone"
        )


def check_output(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of folders that cannot be made or written to, and of files without a name."""
    yield from _check_folder("OUTPUT_DIR", cfg.OUTPUT_DIR, Path(cfg.OUTPUT_DIR))
    if cfg.TEST.ENABLE and (results := cfg.TEST.SAVE_RESULTS_PATH):
        path = Path(cfg.OUTPUT_DIR, results)
        if Path(results).name in ("", ".."):
            yield f"TEST.SAVE_RESULTS_PATH = {results!r}: must name a file; use for instance predictions.npz"
        elif path.parent != Path(cfg.OUTPUT_DIR):
            yield from _check_folder("TEST.SAVE_RESULTS_PATH", results, path.parent)


def _check_folder(key: str, value: str, folder: Path) -> Iterator[str]:
    """Yields the problem of a folder that cannot be made or written to."""
    folder = folder.absolute()
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not existing.is_dir():
        yield f"{key} = {value!r}: {existing} is not a folder; choose another folder"
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield f"{key} = {value!r}: {existing} cannot be written to; choose another folder"


def check_trackers(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of trackers whose packages are not installed."""
    kinds = registry_of("TRACKERS")
    for name in cfg.TRACKERS:
        if name not in kinds:  # reported by check_names
            continue
        kind = kinds.get(name)
        if not hasattr(kind, "start"):
            yield f"TRACKERS = {list(cfg.TRACKERS)}: register {name} as a TrackerKind(start)"
            continue
        if kind.package and importlib.util.find_spec(kind.package) is None:
            yield (
                f"TRACKERS = {list(cfg.TRACKERS)}: must be installed trackers, and {kind.package} is not; "
                f"run `pip install {kind.package}`, or leave {name} out"
            )
