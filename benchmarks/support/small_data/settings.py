"""Settings around the recipe SMALL_DATA: without a part of it, with one part alone, with other values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from slowfast.probe.candidate import Candidate

RECIPE, PLAIN = "SMALL_DATA", "plain"
"""The recipe, and the recipe without all of its parts: a frozen backbone, AdamW at a constant rate."""

Changes = Mapping[str, Any]
"""Keys of the recipe with other values."""

PARTS: Mapping[str, Changes] = MappingProxyType(
    {
        "VTN.INPUT.STANDARDIZE": {"VTN.INPUT.STANDARDIZE": False},
        "VTN.INPUT.DIFFERENCES": {"VTN.INPUT.DIFFERENCES": False},
        "VTN.INPUT.DROPOUT": {"VTN.INPUT.DROPOUT": 0.0},
        "VTN.HEAD.POOLING": {"VTN.HEAD.POOLING": "cls"},
        "VTN.HEAD.SKIP": {"VTN.HEAD.SKIP": False, "SOLVER.LR_FACTORS": {}},
        "SOLVER.LR_FACTORS": {"SOLVER.LR_FACTORS": {}},
        "TRAIN.FULL_VIDEO": {
            "TRAIN.FULL_VIDEO": False,
            "TRAIN.EVAL_FULL_VIDEO": False,
            "DATA.SAMPLING_RATE": 1,
        },
        "MODEL.DROPOUT_RATE": {"MODEL.DROPOUT_RATE": 0.0},
        "SOLVER.WEIGHT_DECAY": {"SOLVER.WEIGHT_DECAY": 0.0},
        "SOLVER.LR_POLICY": {
            "SOLVER.LR_POLICY": "steps_with_relative_lrs",
            "SOLVER.STEPS": [0],
            "SOLVER.LRS": [1.0],
        },
        "SOLVER.WARMUP_EPOCHS": {"SOLVER.WARMUP_EPOCHS": 0.0},
        "SOLVER.CLIP_GRAD_L2NORM": {"SOLVER.CLIP_GRAD_L2NORM": None},
    }
)
"""Parts of the recipe by the key that names them, with the changes that remove them."""

FURTHER: Mapping[str, Changes] = MappingProxyType(
    {
        "MIXUP.ENABLE": {
            "MIXUP.ENABLE": True,
            "MIXUP.CUTMIX_ALPHA": 0.0,
            "MIXUP.LABEL_SMOOTH_VALUE": 0.0,
            "MODEL.LOSS_FUNC": "soft_cross_entropy",
        },
        "LOSS.LABEL_SMOOTHING": {"LOSS.LABEL_SMOOTHING": 0.1},
        "DATA.TRAIN_JITTER_NUM_FRAMES": {"DATA.TRAIN_JITTER_NUM_FRAMES": [10, 16]},
        "DATA.TRAIN_JITTER_DURATION": {"DATA.TRAIN_JITTER_DURATION": [0.7, 1.0]},
        "AUG.NUM_SAMPLE": {"AUG.NUM_SAMPLE": 2},
        "MODEL_EMA.ENABLE": {"MODEL_EMA.ENABLE": True, "MODEL_EMA.DECAY": 0.99},
    }
)
"""Parts that are not in the recipe, with the changes that add them."""

# Without VTN.HEAD.SKIP and TRAIN.FULL_VIDEO these two have no effect, or no meaning.
_NEED_ANOTHER_PART = ("SOLVER.LR_FACTORS", "DATA.TRAIN_JITTER_DURATION")


def _width(width: int) -> Changes:
    return {
        "VTN.LONGFORMER.HIDDEN_DIM": width,
        "VTN.LONGFORMER.INTERMEDIATE_SIZE": 2 * width,
        "VTN.HEAD.MLP_DIM": width,
    }


def _frames(number: int) -> Changes:
    return {"DATA.NUM_FRAMES": number, "TRAIN.EVAL_NUM_FRAMES": number}


VALUES: Mapping[str, Changes] = MappingProxyType(
    {
        "SOLVER.BASE_LR 0.0005": {"SOLVER.BASE_LR": 0.0005},
        "SOLVER.BASE_LR 0.002": {"SOLVER.BASE_LR": 0.002},
        "SOLVER.WEIGHT_DECAY 0.3": {"SOLVER.WEIGHT_DECAY": 0.3},
        "SOLVER.MAX_EPOCH 30": {"SOLVER.MAX_EPOCH": 30, "SOLVER.WARMUP_EPOCHS": 1.5},
        "SOLVER.MAX_EPOCH 120": {"SOLVER.MAX_EPOCH": 120, "SOLVER.WARMUP_EPOCHS": 6.0},
        "TRAIN.BATCH_SIZE 8": {"TRAIN.BATCH_SIZE": 8},
        "DATA.NUM_FRAMES 8": _frames(8),
        "DATA.NUM_FRAMES 32": _frames(32),
        "VTN.LONGFORMER.HIDDEN_DIM 64": _width(64),
        "VTN.LONGFORMER.NUM_HIDDEN_LAYERS 2": {"VTN.LONGFORMER.NUM_HIDDEN_LAYERS": 2},
        "VTN.INPUT.DROPOUT 0.5": {"VTN.INPUT.DROPOUT": 0.5},
        "MODEL.DROPOUT_RATE 0.5": {"MODEL.DROPOUT_RATE": 0.5},
        "statistics_skip 0.03": {"SOLVER.LR_FACTORS": {"statistics_skip": 0.03}},
        "statistics_skip 0.3": {"SOLVER.LR_FACTORS": {"statistics_skip": 0.3}},
        "VTN.INPUT.STANDARDIZE False, POOLING cls": {
            "VTN.INPUT.STANDARDIZE": False,
            "VTN.HEAD.POOLING": "cls",
        },
    }
)
"""Other values of the recipe's free values, one at a time, and two parts removed together."""

KINDS = ("parts", "further", "values")


@dataclass(frozen=True)
class Setting:
    """A configuration of the study.

    Attributes:
        name: of the changed key, with its value where it has several.
        base: ``RECIPE`` or ``PLAIN``, the setting that it is compared with; empty for the recipe, which is
            compared with a linear classifier.
        candidate: the changes of the recipe.
    """

    name: str
    base: str
    candidate: Candidate


def settings(kinds: Sequence[str], only: Sequence[str] | None = None) -> list[Setting]:
    """Returns the recipe, the plain recipe where a kind needs it, and the settings of the kinds (``KINDS``).

    ``parts``: the recipe without each of its parts, and the plain recipe with each. ``further``: both with
    each further part. ``values``: the recipe with other values.

    Args:
        only: texts of which a name must contain one; None: all. The recipe and the plain one are always
            there, since the others are compared with them.
    """
    off = {key: value for changes in PARTS.values() for key, value in changes.items()}
    found = [_setting(RECIPE, "", {})]
    if "parts" in kinds or "further" in kinds:
        found.append(_setting(PLAIN, RECIPE, off))
    if "parts" in kinds:
        found += [_setting(f"− {name}", RECIPE, changes) for name, changes in PARTS.items()]
        with_one = {
            name: {key: value for key, value in off.items() if key not in changes}
            for name, changes in PARTS.items()
        }
        found += _added_to_plain(with_one)
    if "further" in kinds:
        found += [_setting(f"+ {name}", RECIPE, changes) for name, changes in FURTHER.items()]
        found += _added_to_plain({name: {**off, **changes} for name, changes in FURTHER.items()})
    if "values" in kinds:
        found += [_setting(name, RECIPE, changes) for name, changes in VALUES.items()]
    if only is None:
        return found
    return [s for s in found if s.name in (RECIPE, PLAIN) or any(text in s.name for text in only)]


def _added_to_plain(parts: Mapping[str, Changes]) -> list[Setting]:
    """Returns the plain recipe with each part, from the changes of the recipe."""
    return [
        _setting(f"+ {name}", PLAIN, changes)
        for name, changes in parts.items()
        if name not in _NEED_ANOTHER_PART
    ]


def _setting(name: str, base: str, changes: Changes) -> Setting:
    return Setting(name, base, Candidate("VTN", tuple(changes.items())))
