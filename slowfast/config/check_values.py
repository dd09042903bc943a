"""Checks of single values: fixed choices, names in registries, and ranges of numbers."""

from __future__ import annotations

from collections.abc import Iterator

from fvcore.common.config import CfgNode

from slowfast.config.values import flatten, value_of
from slowfast.errors import ConfigError, shown
from slowfast.registry import REGISTRY_OF_KEY, REGISTRY_OF_RUN_KEY, registry_of

_CHOICES = {
    "DATA.NORMALIZATION": ("data", "backbone"),
    "TRAIN.BEST_METRIC": ("", "loss", "top1_err", "top5_err", "balanced_acc", "macro_f1", "auroc", "map"),
    "TEST.WEIGHTS": ("last", "best"),
    "TRAIN.PRECISION": ("float32", "mixed", "bfloat16", "float16"),
    "TEST.PRECISION": ("", "float32", "mixed", "bfloat16", "float16"),
    "MATMUL_PRECISION": ("highest", "high", "medium"),
    "INFERENCE.PRECISION": ("auto", "float32", "bfloat16", "float16"),
    "INFERENCE.COMPILE": ("auto", "on", "off"),
    "DATA.INTERPOLATION": ("bilinear", "bicubic", "backbone"),
    "DATA.ENSEMBLE_METHOD": ("sum", "max"),
    "DATA.DECODING_BACKEND": ("pyav", "torchcodec"),
    "DATA.FEATURES_LAYOUT": ("frames_first", "frames_last"),
    "AUG.INTERPOLATION": ("bilinear", "bicubic", "random"),
    "AUG.RE_MODE": ("pixel", "rand", "const"),
    "BN.NORM_TYPE": ("batchnorm", "sync_batchnorm"),
    "PARALLEL.MODE": ("ddp", "fsdp"),
    "DIST_BACKEND": ("nccl", "gloo"),
}
_AT_LEAST = {
    "MODEL.NUM_CLASSES": 1,
    "DATA.FOLD": 1,
    "DATA.SHUFFLE_SHARDS": 0,
    "DATA.NUM_FRAMES": 0,
    "DATA.SAMPLING_RATE": 0,
    "DATA.FEATURES_FPS": 0,
    "DATA.TRAIN_CROP_SIZE": 0,
    "DATA.TEST_CROP_SIZE": 0,
    "DATA.TEST_PICTURE_MULTIPLE": 0,
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
    "TRAIN.PATIENCE": 0,
    "TRAIN.STALL_STEPS": 0,
    "TRAIN.MIN_IMPROVEMENT": 0,
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
    "LOSS.LOGIT_ADJUSTMENT": 0,
    "SOLVER.DAMPENING": 0,
    "DEMO.BUFFER_SIZE": 0,
    "DEMO.NUM_CLASSES_SHOWN": 1,
    "DEMO.DISPLAY_WIDTH": 0,
    "DEMO.DISPLAY_HEIGHT": 0,
    "TENSORBOARD.WRONG_PRED_VIS.MAX_VIDEOS": 1,
    "TENSORBOARD.MODEL_VIS.MAX_VIDEOS": 1,
    "TENSORBOARD.MODEL_VIS.TOPK_PREDS": 1,
    "NUM_GPUS": 0,
    "NUM_SHARDS": 1,
    "DIST_START_TIMEOUT": 1,
    "DIST_TIMEOUT": 1,
    "RNG_SEED": 0,
    "LOG_PERIOD": 1,
}
_ABOVE_ZERO = {
    "DATA.IMAGE_FPS": "give the frame rate of the images",
    "DATA.TARGET_FPS": "give the frames per second that SAMPLING_RATE counts",
}
_BELOW_ONE = (
    "MODEL.DROPOUT_RATE",
    "SOLVER.MOMENTUM",
    "MIXUP.LABEL_SMOOTH_VALUE",
    "LOSS.LABEL_SMOOTHING",
    "MODEL_EMA.DECAY",
)
_UP_TO_ONE = ("DATA.MAX_BROKEN_FRACTION", "AUG.RE_PROB", "MIXUP.PROB", "MIXUP.SWITCH_PROB")


def check_values(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of keys with fixed choices and of numbers outside their range."""
    for key, choices in _CHOICES.items():
        if (value := value_of(cfg, key)) not in choices:
            names = ", ".join(name or "''" for name in choices)
            yield f"{key} = {shown(value)}: must be one of {names}"
    for key, least in _AT_LEAST.items():
        if (value := value_of(cfg, key)) < least:
            yield f"{key} = {value}: must be {least} or more"
    for key, remedy in _ABOVE_ZERO.items():
        if (value := value_of(cfg, key)) <= 0:
            yield f"{key} = {value}: must be above 0; {remedy}"
    for key in _BELOW_ONE:
        if not 0 <= (value := value_of(cfg, key)) < 1:
            yield f"{key} = {value}: must be a fraction, 0 or more and less than 1"
    for key in _UP_TO_ONE:
        if not 0 <= (value := value_of(cfg, key)) <= 1:
            yield f"{key} = {value}: must be a fraction from 0 to 1"
    for key, value in flatten(cfg).items():
        if isinstance(value, str) and "\0" in value:
            yield f"{key} = {shown(value)}: must not contain a zero byte; remove it"


def check_names(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of keys that choose an entry of a registry; the user's modules are imported."""
    for key in REGISTRY_OF_KEY:
        yield from _check_name(cfg, key)


def check_run_names(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of the names of the model and of the data sets in use; imports torch."""
    used = {"MODEL": True, "TRAIN": cfg.TRAIN.ENABLE, "TEST": cfg.TEST.ENABLE}
    for key in REGISTRY_OF_RUN_KEY:
        if used[key.partition(".")[0]]:
            yield from _check_name(cfg, key)


def _check_name(cfg: CfgNode, key: str) -> Iterator[str]:
    """Yields the problem of each name in the value of a key that its registry does not have."""
    value, registry = value_of(cfg, key), registry_of(key)
    for name in value if isinstance(value, tuple) else (value,):
        try:
            registry.get(name, key)
        except ConfigError as error:
            yield from error.problems
