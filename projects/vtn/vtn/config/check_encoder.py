"""Checks of the keys of the temporal encoder and of the attentive probe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vtn.config.choices import POSITION_UNITS, POSITIONS, PROBE_POSITIONS

if TYPE_CHECKING:  # keeps `--help` fast
    from fvcore.common.config import CfgNode


def check_encoder(encoder: CfgNode) -> Iterator[str]:
    """Yields the problems of ``VTN.LONGFORMER``."""
    yield from _check_sizes(encoder)
    yield from _check_windows(encoder)
    yield from _check_positions(encoder)


def _check_sizes(encoder: CfgNode) -> Iterator[str]:
    for key in ("HIDDEN_DIM", "NUM_HIDDEN_LAYERS", "NUM_ATTENTION_HEADS", "INTERMEDIATE_SIZE"):
        if encoder[key] < 1:
            yield f"VTN.LONGFORMER.{key} = {encoder[key]}: must be 1 or more"
    width, heads = encoder.HIDDEN_DIM, encoder.NUM_ATTENTION_HEADS
    if width >= 1 and heads >= 1 and width % heads:
        yield (
            f"VTN.LONGFORMER.NUM_ATTENTION_HEADS = {heads}: must divide VTN.LONGFORMER.HIDDEN_DIM = "
            f"{width}; use for instance {_nearest_divisor(width, heads)}"
        )
    for key in ("ATTENTION_PROBS_DROPOUT_PROB", "HIDDEN_DROPOUT_PROB"):
        if not 0 <= encoder[key] < 1:
            yield f"VTN.LONGFORMER.{key} = {encoder[key]}: must be a fraction, 0 or more and less than 1"


def _check_windows(encoder: CfgNode) -> Iterator[str]:
    windows, layers = encoder.ATTENTION_WINDOW, encoder.NUM_HIDDEN_LAYERS
    key = f"VTN.LONGFORMER.ATTENTION_WINDOW = {windows}"
    if any(window < 2 or window % 2 for window in windows):
        yield f"{key}: must be even numbers from 2 on, since a window has two equal sides"
    if len(windows) not in (1, layers):
        yield (
            f"{key}: must be one window for all layers, or one per layer; "
            f"VTN.LONGFORMER.NUM_HIDDEN_LAYERS is {layers}"
        )


def _check_positions(encoder: CfgNode) -> Iterator[str]:
    for key, choices in (("POSITION", POSITIONS), ("POSITION_UNIT", POSITION_UNITS)):
        if encoder[key] not in choices:
            yield f"VTN.LONGFORMER.{key} = {encoder[key]!r}: must be one of {', '.join(choices)}"
    if encoder.POSITION_RATE <= 0:
        yield f"VTN.LONGFORMER.POSITION_RATE = {encoder.POSITION_RATE}: must be above 0 positions per second"
    if encoder.MAX_POSITION_EMBEDDINGS < 3:
        yield (
            f"VTN.LONGFORMER.MAX_POSITION_EMBEDDINGS = {encoder.MAX_POSITION_EMBEDDINGS}: must be 3 or more, "
            "since [CLS] and padding take one row each"
        )
    if encoder.POSITION == "sinusoidal" and encoder.HIDDEN_DIM % 2:
        yield (
            f"VTN.LONGFORMER.HIDDEN_DIM = {encoder.HIDDEN_DIM}: must be even, since sinusoidal positions are "
            "pairs of sine and cosine; use an even width, or another VTN.LONGFORMER.POSITION"
        )


def check_probe(probe: CfgNode) -> Iterator[str]:
    """Yields the problems of ``VTN.PROBE``."""
    for key, minimum in (("HIDDEN_DIM", 0), ("NUM_BLOCKS", 1), ("NUM_HEADS", 1)):
        if probe[key] < minimum:
            yield f"VTN.PROBE.{key} = {probe[key]}: must be {minimum} or more"
    for key in ("MLP_RATIO", "POSITION_RATE"):
        if probe[key] <= 0:
            yield f"VTN.PROBE.{key} = {probe[key]}: must be above 0"
    for key, choices in (("POSITION", PROBE_POSITIONS), ("POSITION_UNIT", POSITION_UNITS)):
        if probe[key] not in choices:
            yield f"VTN.PROBE.{key} = {probe[key]!r}: must be one of {', '.join(choices)}"
    if not 0 <= probe.DROPOUT < 1:
        yield f"VTN.PROBE.DROPOUT = {probe.DROPOUT}: must be a fraction, 0 or more and less than 1"
    # Width 0 stands for the width of the features, which only the built backbone knows.
    if probe.HIDDEN_DIM > 0 and probe.NUM_HEADS >= 1 and probe.HIDDEN_DIM % probe.NUM_HEADS:
        yield (
            f"VTN.PROBE.NUM_HEADS = {probe.NUM_HEADS}: must divide VTN.PROBE.HIDDEN_DIM = "
            f"{probe.HIDDEN_DIM}; use for instance {_nearest_divisor(probe.HIDDEN_DIM, probe.NUM_HEADS)}"
        )
    if probe.HIDDEN_DIM % 2 and probe.POSITION == "sinusoidal":
        yield (
            f"VTN.PROBE.HIDDEN_DIM = {probe.HIDDEN_DIM}: must be even, since sinusoidal positions are pairs "
            "of sine and cosine; use an even width, or VTN.PROBE.POSITION none"
        )


def _nearest_divisor(width: int, heads: int) -> int:
    """Returns the divisor of ``width`` that is nearest to ``heads``."""
    return min((n for n in range(1, width + 1) if width % n == 0), key=lambda n: abs(n - heads))
