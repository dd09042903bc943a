"""Requirements on the values of single keys, and on the arguments of models that stand for these keys."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral
from types import MappingProxyType
from typing import Any

from slowfast.errors import shown

MODEL_NAMES = ("VTN", "FrameAverage", "AttentiveProbe")
# The largest number of heads that a message proposes; a wrong width may be any number.
_MOST_HEADS = 1024


@dataclass(frozen=True)
class Requirement:
    """A requirement on one value.

    Attributes:
        text: the end of a message after "must be".
        is_met: returns whether a value meets it.
    """

    text: str
    is_met: Callable[[Any], bool]

    def problems(self, name: str, value: Any) -> Iterator[str]:
        """Yields the problem of a value that does not meet the requirement."""
        try:
            is_met = self.is_met(value)
        except TypeError:  # of another type, such as a text in place of a number
            is_met = False
        if not is_met:
            yield f"{name} = {shown(value)}: must be {self.text}"


def _at_least(minimum: int, meaning: str = "") -> Requirement:
    """Returns the requirement of a smallest number, whose meaning the message may explain."""
    least = f"{minimum} ({meaning})" if meaning else str(minimum)
    return Requirement(f"{least} or more", lambda value: value >= minimum)


def _one_of(*choices: str) -> Requirement:
    names = ", ".join(choice or "''" for choice in choices)
    return Requirement(f"one of {names}", choices.__contains__)


def _are_tokens(tokens: list[int]) -> bool:
    return len(tokens) == 2 and all(isinstance(count, int) and count >= 1 for count in tokens)


_FRACTION = Requirement("a fraction, 0 or more and less than 1", lambda value: 0 <= value < 1)
_ABOVE_ZERO = Requirement("above 0 and finite", lambda value: 0 < value < math.inf)
_POSITIONS_PER_SECOND = Requirement(
    "above 0 positions per second and finite", lambda value: 0 < value < math.inf
)
_POSITION_UNIT = _one_of("frame", "second")

REQUIREMENTS: Mapping[str, Requirement] = MappingProxyType(
    {
        "MODEL.DROPOUT_RATE": _FRACTION,  # which the framework checks
        "VTN.BACKBONE.POOLING": _one_of("cls", "mean", "map", ""),
        "VTN.BACKBONE.TOKENS": Requirement(
            "rows and columns of a grid, such as [3, 3]; [1, 1] is one pooled vector per frame", _are_tokens
        ),
        "VTN.BACKBONE.STAGE": _at_least(0, "the last feature map"),
        "VTN.BACKBONE.FROZEN_BLOCKS": _at_least(0, "none"),
        "VTN.BACKBONE.FROZEN_DTYPE": _one_of("bfloat16", "float16", ""),
        "VTN.BACKBONE.LORA.RANK": _at_least(0, "no LoRA"),
        "VTN.BACKBONE.LORA.ALPHA": _ABOVE_ZERO,
        "VTN.BACKBONE.LORA.DROPOUT": _FRACTION,
        "VTN.BACKBONE.DROP_RATE": _FRACTION,
        "VTN.BACKBONE.DROP_PATH_RATE": _FRACTION,
        "VTN.BACKBONE.CHUNK_FRAMES": _at_least(0, "all at once"),
        "VTN.BACKBONE.CLIP_FRAMES": _at_least(0, "as in the training of the encoder"),
        "VTN.BACKBONE.CLIP_STRIDE": _at_least(0, "one clip after another"),
        "VTN.BACKBONE.ACT_CHECKPOINT_EVERY": _at_least(0, "the whole backbone at once"),
        "VTN.FUSION": _one_of("concat", "attend", "sequence"),  # see vtn/encoder/fusion.py
        "VTN.FUSION_DIM": _at_least(0, "chosen from HIDDEN_DIM"),
        "VTN.FUSION_QUERIES": _at_least(1),
        "VTN.LONGFORMER.HIDDEN_DIM": _at_least(1),
        "VTN.LONGFORMER.NUM_HIDDEN_LAYERS": _at_least(1),
        "VTN.LONGFORMER.NUM_ATTENTION_HEADS": _at_least(1),
        "VTN.LONGFORMER.INTERMEDIATE_SIZE": _at_least(1),
        "VTN.LONGFORMER.MAX_POSITION_EMBEDDINGS": Requirement(
            "3 or more, since [CLS] and padding take one row each", lambda value: value >= 3
        ),
        "VTN.LONGFORMER.POSITION": _one_of("learned", "sinusoidal", "none"),
        "VTN.LONGFORMER.POSITION_UNIT": _POSITION_UNIT,
        "VTN.LONGFORMER.POSITION_RATE": _POSITIONS_PER_SECOND,
        "VTN.LONGFORMER.ATTENTION_PROBS_DROPOUT_PROB": _FRACTION,
        "VTN.LONGFORMER.HIDDEN_DROPOUT_PROB": _FRACTION,
        "VTN.INPUT.DROPOUT": _FRACTION,
        "VTN.HEAD.MLP_DIM": _at_least(1),
        "VTN.HEAD.POOLING": _one_of("cls", "cls+mean+std"),  # see vtn/encoder/temporal_encoder.py
        "VTN.PROBE.HIDDEN_DIM": _at_least(0),
        "VTN.PROBE.NUM_BLOCKS": _at_least(1),
        "VTN.PROBE.NUM_HEADS": _at_least(1),
        "VTN.PROBE.MLP_RATIO": _ABOVE_ZERO,
        "VTN.PROBE.POSITION": _one_of("sinusoidal", "none"),
        "VTN.PROBE.POSITION_UNIT": _POSITION_UNIT,
        "VTN.PROBE.POSITION_RATE": _POSITIONS_PER_SECOND,
        "VTN.PROBE.DROPOUT": _FRACTION,
    }
)
"""Key -> the requirement on its value alone."""


def width_problems(names: tuple[str, str, str], width: int, heads: int, position: str) -> Iterator[str]:
    """Yields the problems of a width with the number of attention heads, and with sinusoidal positions.

    Args:
        names: of width, heads and position, for messages.
    """
    width_name, heads_name, position_name = names
    if width >= 1 and heads >= 1 and width % heads:
        divisors = (n for n in range(1, min(width, _MOST_HEADS) + 1) if width % n == 0)
        nearest = min(divisors, key=lambda n: abs(n - heads))
        yield f"{heads_name} = {heads}: must divide {width_name} = {width}; use for instance {nearest}"
    if position == "sinusoidal" and width % 2:
        yield (
            f"{width_name} = {width}: must be even, since sinusoidal positions are pairs of sine and cosine; "
            f"use an even width, or another {position_name}"
        )


def windows_of(given: Any, num_layers: int) -> list[Any]:
    """Returns one attention window per layer, where one number is given for all layers."""
    windows = list(given) if isinstance(given, Iterable) else [given]
    return windows * num_layers if len(windows) == 1 else windows


def _is_window(value: Any) -> bool:
    return isinstance(value, Integral) and int(value) >= 2 and int(value) % 2 == 0


def window_problems(names: tuple[str, str], given: Any, num_layers: int) -> Iterator[str]:
    """Yields the problems of attention windows, one for all layers or one per layer.

    Args:
        names: of windows and number of layers, for messages.
    """
    windows = windows_of(given, num_layers)
    if not all(map(_is_window, windows)):
        yield f"{names[0]} = {given!r}: must be even numbers from 2 on, since a window has two equal sides"
    if len(windows) != num_layers:
        yield (
            f"{names[0]} = {given!r}: must be one window for all layers, or one per layer; {names[1]} is "
            f"{num_layers}"
        )
