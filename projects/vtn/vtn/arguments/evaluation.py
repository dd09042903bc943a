"""The evaluation of a model: the keys that decide how a video becomes its input, and logits scores.

They travel with the weights: a checkpoint holds them in its configuration, a published folder in the entry
``evaluation`` of ``config.json``. Sizes, classes and normalisation of the frames are the model's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fvcore.common.config import CfgNode

from slowfast.config.check_data import check_pixels, check_views
from slowfast.config.check_values import check_names, check_values
from slowfast.config.defaults import get_default_config
from slowfast.config.merge import Merge
from slowfast.config.values import value_of
from slowfast.config.yaml_file import entries_of
from slowfast.errors import ConfigError, InputError
from slowfast.registry import projects

EVALUATION_KEYS = (
    "DATA.NUM_FRAMES",
    "DATA.SAMPLING_RATE",
    "DATA.TARGET_FPS",
    "DATA.TRAIN_JITTER_SCALES",
    "DATA.TEST_CROP_SIZE",
    "DATA.TEST_WHOLE_PICTURE",
    "DATA.TEST_PICTURE_MULTIPLE",
    "DATA.INTERPOLATION",
    "DATA.REVERSE_INPUT_CHANNEL",
    "DATA.ENSEMBLE_METHOD",
    "TRAIN.EVAL_FULL_VIDEO",
    "TRAIN.EVAL_NUM_FRAMES",
    "TRAIN.EVAL_STREAM_FRAMES",
    "TEST.NUM_ENSEMBLE_VIEWS",
    "TEST.NUM_SPATIAL_CROPS",
    "MODEL.HEAD_ACT",
)
"""Keys of a configuration that an evaluation depends on."""

# Pixels and frames above these are not evaluated: the values decide how much memory frames take, and may come
# from a downloaded file.
_LARGEST = {
    "DATA.NUM_FRAMES": 16_384,
    "DATA.TRAIN_JITTER_SCALES": 8192,
    "DATA.TEST_CROP_SIZE": 4096,
    "DATA.TEST_PICTURE_MULTIPLE": 4096,
    "TRAIN.EVAL_NUM_FRAMES": 1_000_000,
    "TRAIN.EVAL_STREAM_FRAMES": 16_384,
    "TEST.NUM_ENSEMBLE_VIEWS": 1000,
    "TEST.NUM_SPATIAL_CROPS": 1000,
}


def build_evaluation(cfg: CfgNode) -> dict[str, Any]:
    """Returns the values of ``EVALUATION_KEYS`` by key, as plain values for JSON.

    Args:
        cfg: with the model's frame format filled in, see
            ``slowfast.models.frame_format.adopt_frame_format``.
    """
    values = {key: value_of(cfg, key) for key in EVALUATION_KEYS}
    return {key: list(value) if isinstance(value, list | tuple) else value for key, value in values.items()}


def build_evaluation_config(evaluation: Mapping[str, Any], model: Any, *, source: str) -> CfgNode:
    """Returns the default configuration with these values, for a model of this project.

    Args:
        evaluation: the result of :func:`build_evaluation`; other keys are refused.
        model: with ``num_classes``, ``frame_mean`` and ``frame_std``.
        source: origin of the values, for messages.

    Raises:
        InputError: for a model without an evaluation.
        ConfigError: for unknown keys and unsuitable values, with all problems.
    """
    if not evaluation:
        raise InputError(
            f"{source}: does not come with the sampling of its frames; give the configuration that it was "
            "trained with: --cfg NAME_OR_FILE (in Python: config=NAME_OR_FILE, or set model.evaluation)"
        )
    merge = Merge(get_default_config(), projects())
    merge.problems += [
        f"{key} = {value!r}: must be one of {', '.join(EVALUATION_KEYS)}"
        for key, value in evaluation.items()
        if key not in EVALUATION_KEYS
    ]
    known = {key: value for key, value in evaluation.items() if key in EVALUATION_KEYS}
    merge.add_entries(entries_of(known, source))
    cfg = merge.cfg
    cfg.MODEL.NUM_CLASSES = model.num_classes
    cfg.DATA.MEAN, cfg.DATA.STD = list(model.frame_mean), list(model.frame_std)
    cfg.DATA.TRAIN_CROP_SIZE = cfg.DATA.TEST_CROP_SIZE
    # Other checks are about parts of a run that an evaluation does not have.
    checks = (check_names, check_values, check_pixels, check_views)
    if problems := merge.problems or [problem for check in checks for problem in check(cfg)]:
        raise ConfigError(*problems, source=source)
    if problems := [*_check_range(cfg)]:
        raise ConfigError(*problems, source=source)
    cfg.freeze()
    return cfg


def _check_range(cfg: CfgNode) -> Iterator[str]:
    if cfg.DATA.SAMPLING_RATE == 0:  # in a configuration 0 is the rate of the model, which is known here
        yield "DATA.SAMPLING_RATE = 0: must be 1 or more"
    for key, largest in _LARGEST.items():
        value = value_of(cfg, key)
        if max(value if isinstance(value, list | tuple) else [value]) > largest:
            yield f"{key} = {value}: must be {largest} or less"
