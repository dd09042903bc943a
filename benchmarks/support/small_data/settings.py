"""Settings around the recipe SMALL_DATA: without a part of it, with one part alone, with other values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from slowfast.probe.candidate import Candidate, Change

RECIPE, PLAIN = "SMALL_DATA", "plain"
"""The recipe, and the recipe without all of its parts: a frozen backbone, AdamW at a constant rate."""

_SKIP_FACTOR = ("SOLVER.LR_FACTORS", {"statistics_skip": 0.1})
_CONSTANT = (("SOLVER.LR_POLICY", "steps_with_relative_lrs"), ("SOLVER.STEPS", [0]), ("SOLVER.LRS", [1.0]))


@dataclass(frozen=True)
class Part:
    """A part of the recipe, or one that it could have.

    Attributes:
        with_it, without_it: changes that add it and that remove it.
        needs: name of a part that it has no effect, or no meaning, without; empty: none.
    """

    with_it: tuple[Change, ...]
    without_it: tuple[Change, ...] = ()
    needs: str = ""


PARTS: Mapping[str, Part] = MappingProxyType(
    {
        "VTN.INPUT.STANDARDIZE": Part(
            (("VTN.INPUT.STANDARDIZE", True),), (("VTN.INPUT.STANDARDIZE", False),)
        ),
        "VTN.INPUT.DIFFERENCES": Part(
            (("VTN.INPUT.DIFFERENCES", True),), (("VTN.INPUT.DIFFERENCES", False),)
        ),
        "VTN.INPUT.DROPOUT": Part((("VTN.INPUT.DROPOUT", 0.3),), (("VTN.INPUT.DROPOUT", 0.0),)),
        "VTN.HEAD.POOLING": Part((("VTN.HEAD.POOLING", "cls+mean+std"),), (("VTN.HEAD.POOLING", "cls"),)),
        "VTN.HEAD.SKIP": Part(
            (("VTN.HEAD.SKIP", True), _SKIP_FACTOR), (("VTN.HEAD.SKIP", False), ("SOLVER.LR_FACTORS", {}))
        ),
        "SOLVER.LR_FACTORS": Part((_SKIP_FACTOR,), (("SOLVER.LR_FACTORS", {}),), needs="VTN.HEAD.SKIP"),
        "TRAIN.FULL_VIDEO": Part(
            (("TRAIN.FULL_VIDEO", True), ("TRAIN.EVAL_FULL_VIDEO", True)),
            (("TRAIN.FULL_VIDEO", False), ("TRAIN.EVAL_FULL_VIDEO", False), ("DATA.SAMPLING_RATE", 1)),
        ),
        "MODEL.DROPOUT_RATE": Part((("MODEL.DROPOUT_RATE", 0.3),), (("MODEL.DROPOUT_RATE", 0.0),)),
        "SOLVER.WEIGHT_DECAY": Part((("SOLVER.WEIGHT_DECAY", 0.05),), (("SOLVER.WEIGHT_DECAY", 0.0),)),
        "SOLVER.LR_POLICY": Part((("SOLVER.LR_POLICY", "cosine"),), _CONSTANT),
        "SOLVER.WARMUP_EPOCHS": Part((("SOLVER.WARMUP_EPOCHS", 3.0),), (("SOLVER.WARMUP_EPOCHS", 0.0),)),
        "SOLVER.CLIP_GRAD_L2NORM": Part(
            (("SOLVER.CLIP_GRAD_L2NORM", 1.0),), (("SOLVER.CLIP_GRAD_L2NORM", None),)
        ),
    }
)
"""Parts of the recipe by the key that names them."""

FURTHER: Mapping[str, Part] = MappingProxyType(
    {
        "MIXUP.ENABLE": Part(
            (
                ("MIXUP.ENABLE", True),
                ("MIXUP.CUTMIX_ALPHA", 0.0),
                ("MIXUP.LABEL_SMOOTH_VALUE", 0.0),
                ("MODEL.LOSS_FUNC", "soft_cross_entropy"),
            )
        ),
        "LOSS.LABEL_SMOOTHING": Part((("LOSS.LABEL_SMOOTHING", 0.1),)),
        "DATA.TRAIN_JITTER_NUM_FRAMES": Part((("DATA.TRAIN_JITTER_NUM_FRAMES", [10, 16]),)),
        "DATA.TRAIN_JITTER_DURATION": Part(
            (("DATA.TRAIN_JITTER_DURATION", [0.7, 1.0]),), needs="TRAIN.FULL_VIDEO"
        ),
        "AUG.NUM_SAMPLE": Part((("AUG.NUM_SAMPLE", 2),)),
        "MODEL_EMA.ENABLE": Part((("MODEL_EMA.ENABLE", True), ("MODEL_EMA.DECAY", 0.99))),
    }
)
"""Parts that are not in the recipe."""


def _width(width: int) -> tuple[Change, ...]:
    return (
        ("VTN.LONGFORMER.HIDDEN_DIM", width),
        ("VTN.LONGFORMER.INTERMEDIATE_SIZE", 2 * width),
        ("VTN.HEAD.MLP_DIM", width),
    )


def _frames(number: int) -> tuple[Change, ...]:
    return (("DATA.NUM_FRAMES", number), ("TRAIN.EVAL_NUM_FRAMES", number))


VALUES: Mapping[str, tuple[Change, ...]] = MappingProxyType(
    {
        "SOLVER.BASE_LR 0.0005": (("SOLVER.BASE_LR", 0.0005),),
        "SOLVER.BASE_LR 0.002": (("SOLVER.BASE_LR", 0.002),),
        "SOLVER.WEIGHT_DECAY 0.3": (("SOLVER.WEIGHT_DECAY", 0.3),),
        "SOLVER.MAX_EPOCH 30": (("SOLVER.MAX_EPOCH", 30), ("SOLVER.WARMUP_EPOCHS", 1.5)),
        "SOLVER.MAX_EPOCH 120": (("SOLVER.MAX_EPOCH", 120), ("SOLVER.WARMUP_EPOCHS", 6.0)),
        "TRAIN.BATCH_SIZE 8": (("TRAIN.BATCH_SIZE", 8),),
        "DATA.NUM_FRAMES 8": _frames(8),
        "DATA.NUM_FRAMES 32": _frames(32),
        "VTN.LONGFORMER.HIDDEN_DIM 64": _width(64),
        "VTN.LONGFORMER.NUM_HIDDEN_LAYERS 2": (("VTN.LONGFORMER.NUM_HIDDEN_LAYERS", 2),),
        "VTN.INPUT.DROPOUT 0.5": (("VTN.INPUT.DROPOUT", 0.5),),
        "MODEL.DROPOUT_RATE 0.5": (("MODEL.DROPOUT_RATE", 0.5),),
        "statistics_skip 0.03": (("SOLVER.LR_FACTORS", {"statistics_skip": 0.03}),),
        "statistics_skip 0.3": (("SOLVER.LR_FACTORS", {"statistics_skip": 0.3}),),
        "VTN.INPUT.STANDARDIZE False, POOLING cls": (
            ("VTN.INPUT.STANDARDIZE", False),
            ("VTN.HEAD.POOLING", "cls"),
        ),
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
    off: dict[str, Any] = {key: value for part in PARTS.values() for key, value in part.without_it}
    found = [_setting(RECIPE, "", {})]
    if "parts" in kinds or "further" in kinds:
        found.append(_setting(PLAIN, RECIPE, off))
    if "parts" in kinds:
        found += [_setting(f"− {name}", RECIPE, dict(part.without_it)) for name, part in PARTS.items()]
        found += _added_to_plain(PARTS, off)
    if "further" in kinds:
        found += [_setting(f"+ {name}", RECIPE, dict(part.with_it)) for name, part in FURTHER.items()]
        found += _added_to_plain(FURTHER, off)
    if "values" in kinds:
        found += [_setting(name, RECIPE, dict(changes)) for name, changes in VALUES.items()]
    if only is None:
        return found
    return [s for s in found if s.name in (RECIPE, PLAIN) or any(text in s.name for text in only)]


def _added_to_plain(parts: Mapping[str, Part], off: Mapping[str, Any]) -> list[Setting]:
    return [
        _setting(f"+ {name}", PLAIN, {**off, **dict(part.with_it)})
        for name, part in parts.items()
        if not part.needs
    ]


def _setting(name: str, base: str, changes: Mapping[str, Any]) -> Setting:
    return Setting(name, base, Candidate("VTN", tuple(changes.items())))
