"""Checks of a whole configuration: each problem is one sentence, ``KEY = value: what is wrong; remedy``.

Value checks hold for any use of a configuration. Run checks ask in addition for what a run needs on
this machine: data files, weights, a place to write. Parts that are switched off are not checked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slowfast.config.check_features import check_feature_cache, check_features
from slowfast.registry import projects

# Data sets whose annotations are `train.csv`, `val.csv` and `test.csv` in one folder.
CSV_DATASETS = ("kinetics", "frames", "features")

_CHOICES = {
    "MODEL.LOSS_FUNC": ("cross_entropy", "soft_cross_entropy", "bce_logit"),
    "MODEL.HEAD_ACT": ("softmax", "sigmoid", "none"),
    "DATA.NORMALIZATION": ("data", "backbone"),
    "DATA.INTERPOLATION": ("bilinear", "bicubic", "backbone"),
    "DATA.ENSEMBLE_METHOD": ("sum", "max"),
    "DATA.DECODING_BACKEND": ("pyav", "torchcodec"),
    "DATA.FEATURES_LAYOUT": ("frames_first", "frames_last"),
    "AUG.INTERPOLATION": ("bilinear", "bicubic", "random"),
    "AUG.RE_MODE": ("pixel", "rand", "const"),
    "SOLVER.OPTIMIZING_METHOD": ("sgd", "adam", "adamw"),
    "SOLVER.LR_POLICY": ("cosine", "steps_with_relative_lrs"),
    "BN.NORM_TYPE": ("batchnorm", "sync_batchnorm"),
    "PARALLEL.MODE": ("ddp", "fsdp"),
    "DIST_BACKEND": ("nccl", "gloo"),
}
_AT_LEAST = {
    "MODEL.NUM_CLASSES": 1,
    "DATA.FOLD": 1,
    "DATA.NUM_FRAMES": 1,
    "DATA.SAMPLING_RATE": 1,
    "DATA.FEATURES_FPS": 0,
    "DATA.TARGET_FPS": 1,
    "DATA.TRAIN_CROP_SIZE": 0,
    "DATA.TEST_CROP_SIZE": 0,
    "AUG.NUM_SAMPLE": 1,
    "AUG.COLOR_JITTER": 0,
    "AUG.RE_COUNT": 1,
    "MIXUP.ALPHA": 0,
    "MIXUP.CUTMIX_ALPHA": 0,
    "DATA_LOADER.NUM_WORKERS": 0,
    "DATA_LOADER.SAMPLE_TIMEOUT": 0,
    "TRAIN.BATCH_SIZE": 1,
    "TRAIN.EVAL_PERIOD": 1,
    "TRAIN.CHECKPOINT_PERIOD": 1,
    "TRAIN.CHECKPOINT_MINUTES": 0,
    "TRAIN.CHECKPOINT_STEPS": 0,
    "TRAIN.GRAD_ACCUM_STEPS": 1,
    "TRAIN.KEEP_CHECKPOINTS": 0,
    "TRAIN.EVAL_NUM_FRAMES": 0,
    "TRAIN.EVAL_STREAM_FRAMES": 0,
    "TRAIN.MAX_STEPS": 0,
    "TEST.BATCH_SIZE": 1,
    "TEST.NUM_ENSEMBLE_VIEWS": 1,
    "TEST.NUM_SPATIAL_CROPS": 1,
    "SOLVER.MAX_EPOCH": 1,
    "SOLVER.MAX_SKIPPED_STEPS": 0,
    "SOLVER.WEIGHT_DECAY": 0,
    "BN.WEIGHT_DECAY": 0,
    "SOLVER.WARMUP_EPOCHS": 0,
    "SOLVER.WARMUP_START_LR": 0,
    "SOLVER.COSINE_END_LR": 0,
    "SOLVER.DAMPENING": 0,
    "NUM_GPUS": 0,
    "NUM_SHARDS": 1,
    "DIST_START_TIMEOUT": 1,
    "DIST_TIMEOUT": 1,
    "RNG_SEED": 0,
    "LOG_PERIOD": 1,
}
_FRACTIONS = ("MODEL.DROPOUT_RATE", "SOLVER.MOMENTUM", "MIXUP.LABEL_SMOOTH_VALUE", "MODEL_EMA.DECAY")
_SHARES = ("DATA.MAX_BROKEN_FRACTION", "AUG.RE_PROB", "MIXUP.PROB", "MIXUP.SWITCH_PROB")
# Sections of timm's names of RandAugment.
_RAND_AUGMENT = re.compile(r"rand(-(m\d+|n\d+|p[\d.]+|mstd[\d.]+|mmax\d+|inc[01]))*")


def check(cfg: Any, *, for_run: bool = False) -> list[str]:
    """Returns the problems of a merged configuration, the projects' checks included.

    Args:
        cfg: all keys with values of the right type.
        for_run: also check what only a run needs.
    """
    problems = [*_check_ranges(cfg), *_check_model(cfg), *_check_data(cfg), *_check_views(cfg)]
    problems += check_features(cfg)
    if cfg.TRAIN.ENABLE:
        problems += [*_check_augmentation(cfg), *_check_solver(cfg), *_check_parallel(cfg)]
    problems += [
        f"IMPORTS = {module!r}: there is no such file; the path is relative to where the run is started"
        for module in cfg.IMPORTS
        if str(module).endswith(".py") and not Path(module).is_file()
    ]
    if cfg.SHARD_ID not in range(max(cfg.NUM_SHARDS, 1)):
        problems.append(
            f"SHARD_ID = {cfg.SHARD_ID}: machines are numbered from 0 to NUM_SHARDS - 1 = "
            f"{cfg.NUM_SHARDS - 1}; give each machine its own number"
        )
    for project in projects():
        problems += project.check(cfg)
    if for_run:
        problems += [
            *_check_inputs(cfg),
            *check_feature_cache(cfg),
            *_check_weights(cfg),
            *_check_output(cfg),
        ]
    return problems


def check_batch_sizes(cfg: Any, processes: int) -> list[str]:
    """Returns the problems of batch sizes that the processes of one machine cannot share evenly.

    Args:
        processes: those that really run on each machine.
    """
    problems = []
    for name in ("TRAIN", "TEST"):
        size = cfg[name].BATCH_SIZE
        if cfg[name].ENABLE and size % processes:
            lower = size // processes * processes
            near = " or ".join(str(n) for n in (lower, lower + processes) if n)
            problems.append(
                f"{name}.BATCH_SIZE = {size}: cannot be shared evenly by the {processes} processes of this "
                f"machine; use {near}, or another NUM_GPUS"
            )
    return problems


def _value(cfg: Any, key: str) -> Any:
    for name in key.split("."):
        cfg = cfg[name]
    return cfg


def _check_ranges(cfg: Any) -> Iterator[str]:
    for key, choices in _CHOICES.items():
        if _value(cfg, key) not in choices:
            yield f"{key} = {_value(cfg, key)!r}: is not known; use {', '.join(choices)}"
    for key, least in _AT_LEAST.items():
        if _value(cfg, key) < least:
            yield f"{key} = {_value(cfg, key)}: is too small; use {least} or more"
    for key in _FRACTIONS:
        if not 0 <= _value(cfg, key) < 1:
            yield f"{key} = {_value(cfg, key)}: is no fraction; use 0 or more and less than 1"
    for key in _SHARES:
        if not 0 <= _value(cfg, key) <= 1:
            yield f"{key} = {_value(cfg, key)}: is no share; use 0 to 1"
    if cfg.DATA.IMAGE_FPS <= 0:
        yield f"DATA.IMAGE_FPS = {cfg.DATA.IMAGE_FPS}: must be above 0; give the images a second"


def _check_model(cfg: Any) -> Iterator[str]:
    loss = cfg.MODEL.LOSS_FUNC
    if cfg.DATA.MULTI_LABEL and loss == "cross_entropy":
        yield (
            f"MODEL.LOSS_FUNC = {loss!r}: takes one class a video, but DATA.MULTI_LABEL is True; "
            "use bce_logit (and MODEL.HEAD_ACT sigmoid)"
        )
    mixed = cfg.TRAIN.ENABLE and cfg.MIXUP.ENABLE
    if mixed and loss == "cross_entropy":
        yield (
            f"MODEL.LOSS_FUNC = {loss!r}: takes one class a video, but MIXUP.ENABLE mixes them; use "
            "soft_cross_entropy"
        )
    one_class = cfg.TRAIN.ENABLE and not (cfg.DATA.MULTI_LABEL or mixed)
    if one_class and loss in ("bce_logit", "soft_cross_entropy"):
        yield (
            f"MODEL.LOSS_FUNC = {loss!r}: takes a value for each class, but DATA.MULTI_LABEL is False; "
            "use cross_entropy, or data with several labels"
        )


def _check_data(cfg: Any) -> Iterator[str]:
    data = cfg.DATA
    if len(data.PATH_LABEL_SEPARATOR.encode()) != 1:
        yield (
            f"DATA.PATH_LABEL_SEPARATOR = {data.PATH_LABEL_SEPARATOR!r}: is no ASCII character; use what "
            "stands between path and label, such as ' '"
        )
    for key, values in (("DATA.MEAN", data.MEAN), ("DATA.STD", data.STD)):
        if len(values) != 3:
            yield f"{key} = {values}: has {len(values)} values; give three, one a colour"
    if any(value <= 0 for value in data.STD):
        yield f"DATA.STD = {data.STD}: must be above 0; the values are fractions of full brightness"
    if any(channels != 3 for channels in data.INPUT_CHANNEL_NUM) or not data.INPUT_CHANNEL_NUM:
        yield f"DATA.INPUT_CHANNEL_NUM = {data.INPUT_CHANNEL_NUM}: frames have three channels; use [3]"
    scales = data.TRAIN_JITTER_SCALES
    if len(scales) != 2 or not 0 < scales[0] <= scales[-1]:
        yield f"DATA.TRAIN_JITTER_SCALES = {scales}: give the least and largest side, such as [256, 320]"
    elif cfg.TRAIN.ENABLE and not data.TRAIN_JITTER_SCALES_RELATIVE and scales[0] < data.TRAIN_CROP_SIZE:
        yield (
            f"DATA.TRAIN_CROP_SIZE = {data.TRAIN_CROP_SIZE}: does not fit into the smallest short side of "
            f"DATA.TRAIN_JITTER_SCALES = {scales}; use a smaller crop or larger scales"
        )


def _check_augmentation(cfg: Any) -> Iterator[str]:
    if cfg.AUG.AA_TYPE and not _RAND_AUGMENT.fullmatch(cfg.AUG.AA_TYPE):
        yield (
            f"AUG.AA_TYPE = {cfg.AUG.AA_TYPE!r}: is no RandAugment; use a name such as rand-m9-mstd0.5-inc1, "
            "or '' for colour jitter alone"
        )
    if cfg.AUG.NUM_SAMPLE > 1 and not cfg.AUG.ENABLE:
        yield f"AUG.NUM_SAMPLE = {cfg.AUG.NUM_SAMPLE}: has no effect; set AUG.ENABLE True, or use 1"
    if cfg.MIXUP.ENABLE and cfg.MIXUP.ALPHA == cfg.MIXUP.CUTMIX_ALPHA == 0:
        yield "MIXUP.ALPHA = 0: CUTMIX_ALPHA is 0, too, and nothing is mixed; set one, or MIXUP.ENABLE False"
    for name, largest in (("TRAIN_JITTER_SCALES_RELATIVE", 1.0), ("TRAIN_JITTER_ASPECT_RELATIVE", None)):
        values = cfg.DATA[name]
        if values and (len(values) != 2 or not 0 < values[0] <= values[1] <= (largest or values[1])):
            limit = " and at most 1" if largest else ""
            yield f"DATA.{name} = {values}: give least and largest value, above 0{limit}, or [] for none"


def _check_views(cfg: Any) -> Iterator[str]:
    """Checks how videos are shown to the model in evaluation."""
    scales, crops = cfg.DATA.TRAIN_JITTER_SCALES, cfg.TEST.NUM_SPATIAL_CROPS
    # One crop is cut from the smaller training scale; several from a short side of the crop's own size.
    single_crop = cfg.TRAIN.ENABLE or (cfg.TEST.ENABLE and crops == 1)  # validation has one
    if single_crop and scales and scales[0] < cfg.DATA.TEST_CROP_SIZE:
        yield (
            f"DATA.TEST_CROP_SIZE = {cfg.DATA.TEST_CROP_SIZE}: does not fit into the short side {scales[0]} "
            f"of evaluated frames (DATA.TRAIN_JITTER_SCALES = {scales}); use a smaller crop or larger scales"
        )
    if cfg.TEST.ENABLE and cfg.TRAIN.EVAL_FULL_VIDEO and cfg.TEST.NUM_ENSEMBLE_VIEWS > 1:
        yield (
            f"TEST.NUM_ENSEMBLE_VIEWS = {cfg.TEST.NUM_ENSEMBLE_VIEWS}: a whole video is one view; use 1, or "
            "set TRAIN.EVAL_FULL_VIDEO False to test on clips"
        )


def _check_solver(cfg: Any) -> Iterator[str]:
    solver = cfg.SOLVER
    if solver.BASE_LR <= 0:
        yield f"SOLVER.BASE_LR = {solver.BASE_LR}: must be above 0"
    if not 0 < solver.LAYER_DECAY <= 1:
        yield f"SOLVER.LAYER_DECAY = {solver.LAYER_DECAY}: use more than 0 and at most 1 (1: no decay)"
    if len(solver.BETAS) != 2 or not all(0 <= beta < 1 for beta in solver.BETAS):
        yield f"SOLVER.BETAS = {solver.BETAS}: give two fractions below 1, such as [0.9, 0.999]"
    clips = {key: solver[key] for key in ("CLIP_GRAD_VAL", "CLIP_GRAD_L2NORM") if solver[key] is not None}
    for key, limit in clips.items():
        if limit <= 0:
            yield f"SOLVER.{key} = {limit}: must be above 0; use None for no clipping"
    if len(clips) == 2:
        yield (
            f"SOLVER.CLIP_GRAD_VAL = {solver.CLIP_GRAD_VAL}: is given beside SOLVER.CLIP_GRAD_L2NORM; "
            "set one of the two to None"
        )
    if solver.LR_POLICY == "steps_with_relative_lrs":
        yield from _check_steps(solver)
    after_warmup = solver.LR_POLICY == "cosine" and solver.COSINE_AFTER_WARMUP
    if after_warmup and solver.WARMUP_EPOCHS >= solver.MAX_EPOCH:
        yield (
            f"SOLVER.WARMUP_EPOCHS = {solver.WARMUP_EPOCHS}: leaves no epoch for the cosine that begins "
            f"after it; use fewer than SOLVER.MAX_EPOCH = {solver.MAX_EPOCH}"
        )


def _check_steps(solver: Any) -> Iterator[str]:
    steps, rates = list(solver.STEPS), list(solver.LRS)
    if not steps or steps[0] != 0 or steps != sorted(set(steps)):
        yield f"SOLVER.STEPS = {steps}: give rising epochs that begin with 0, such as [0, 13, 24]"
    # PySlowFast's files have more rates than steps; the last ones are not reached.
    if len(rates) < len(steps):
        yield f"SOLVER.LRS = {rates}: has {len(rates)} rates for {len(steps)} SOLVER.STEPS; give one a step"
    if any(rate <= 0 for rate in rates):
        yield f"SOLVER.LRS = {rates}: rates are factors of SOLVER.BASE_LR; each must be above 0"


def _check_parallel(cfg: Any) -> Iterator[str]:
    static, parts = cfg.PARALLEL.STATIC_GRAPH, cfg.TRAIN.GRAD_ACCUM_STEPS
    if static and (parts > 1 or cfg.PARALLEL.FIND_UNUSED_PARAMETERS or cfg.PARALLEL.MODE == "fsdp"):
        yield (
            "PARALLEL.STATIC_GRAPH = True: goes neither with TRAIN.GRAD_ACCUM_STEPS above 1 nor with "
            "PARALLEL.FIND_UNUSED_PARAMETERS nor with PARALLEL.MODE fsdp; set it False"
        )
    if cfg.PARALLEL.MODE == "fsdp" and cfg.DATA.FEATURES:
        yield (
            "PARALLEL.MODE = 'fsdp': the part of a model behind its features is small; set ddp, or "
            "DATA.FEATURES '' to train on frames"
        )


def _check_inputs(cfg: Any) -> Iterator[str]:
    """Checks that the enabled parts have their data, and data that suit them."""
    if not (cfg.TRAIN.ENABLE or cfg.TEST.ENABLE):
        yield "TRAIN.ENABLE = False: TEST.ENABLE is False too, so there is nothing to do; enable one"
        return
    if cfg.DATA.ORIGINAL_SEMANTICS and cfg.TRAIN.ENABLE:
        yield (
            "DATA.ORIGINAL_SEMANTICS = True: is for testing published weights as they were published; "
            "set TRAIN.ENABLE False, or leave it False"
        )
    path = Path(cfg.DATA.PATH_TO_DATA_DIR)
    key = f"DATA.PATH_TO_DATA_DIR = {cfg.DATA.PATH_TO_DATA_DIR!r}"
    purpose = "training" if cfg.TRAIN.ENABLE else "testing"
    if not cfg.DATA.PATH_TO_DATA_DIR:
        yield f"{key}: is not set; {purpose} wants the folder that holds the annotation files"
        return
    if not path.exists():
        yield f"{key}: does not exist; {purpose} wants the folder that holds the annotation files"
        return
    wanted = {"train.csv": cfg.TRAIN, "val.csv": cfg.TRAIN, "test.csv": cfg.TEST}
    missing = [
        name
        for name, part in wanted.items()
        if part.ENABLE and part.DATASET in CSV_DATASETS and path.is_dir() and not (path / name).is_file()
    ]
    if missing:
        yield f"{key}: lacks {', '.join(missing)}; write one line 'path label' a video"
    names = cfg.TENSORBOARD.CLASS_NAMES_PATH
    if names and not Path(names).is_file():
        yield f"TENSORBOARD.CLASS_NAMES_PATH = {names!r}: there is no such file; name a json file or none"


def _check_weights(cfg: Any) -> Iterator[str]:
    """Checks that checkpoints which are named exist, and that a test has weights at all."""
    named = {"TRAIN": cfg.TRAIN.CHECKPOINT_FILE_PATH, "TEST": cfg.TEST.CHECKPOINT_FILE_PATH}
    for part, path in named.items():
        if path and cfg[part].ENABLE and not Path(path).is_file():
            yield f"{part}.CHECKPOINT_FILE_PATH = {path!r}: there is no such file"
    has_own = any(Path(cfg.OUTPUT_DIR, "checkpoints").glob("*.pyth"))
    if cfg.TEST.ENABLE and not (cfg.TRAIN.ENABLE or has_own or any(named.values())):
        yield (
            "TEST.CHECKPOINT_FILE_PATH = '': a test without training needs weights, and there are none in "
            f"{cfg.OUTPUT_DIR}/checkpoints; name a checkpoint, or set TRAIN.ENABLE True"
        )


def _check_output(cfg: Any) -> Iterator[str]:
    folder = Path(cfg.OUTPUT_DIR).absolute()
    present = next(path for path in (folder, *folder.parents) if path.exists())
    if not present.is_dir():
        yield f"OUTPUT_DIR = {cfg.OUTPUT_DIR!r}: {present} is not a folder; choose another place"
    elif not os.access(present, os.W_OK | os.X_OK):
        yield f"OUTPUT_DIR = {cfg.OUTPUT_DIR!r}: {present} cannot be written; choose another place"
