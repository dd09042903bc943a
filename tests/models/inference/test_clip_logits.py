"""Logits of a batch are those of each clip alone, whichever clips the model rejects."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from slowfast.datasets.clip import Batch, Clip, Normalization
from slowfast.errors import NotFiniteError
from slowfast.models.inference.clip_logits import compute_logits
from slowfast.models.precision import Precision

PLAIN: dict[str, Any] = {"normalization": Normalization((0.0,) * 3, (1.0,) * 3), "precision": Precision()}


class Rejecting(nn.Module):
    """Gives the first pixel of each channel as logits; rejects clips whose first pixel is in ``bad``."""

    def __init__(self, bad: set[int], *, at_once: int) -> None:
        super().__init__()
        self.bad, self.at_once = bad, at_once

    def forward(self, frames: Tensor, *given: Any) -> Tensor:
        first = frames[:, :, 0, 0, 0]
        values = (255 * first[:, 0]).round().int().tolist()
        if rejected := [row for row, value in enumerate(values) if value in self.bad]:
            raise NotFiniteError("the features are NaN", rejected[: self.at_once])
        return first


def build_batch(values: list[int]) -> Batch:
    clips = [
        Clip(torch.full((3, 1, 2, 2), value, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64), 0, video)
        for video, value in enumerate(values)
    ]
    return Clip.collate(clips)


@given(
    values=st.lists(st.integers(0, 9), min_size=1, max_size=8),
    bad=st.sets(st.integers(0, 9)),
    at_once=st.integers(1, 8),
)
def test_the_clips_that_a_model_accepts_have_their_logits(
    values: list[int], bad: set[int], at_once: int
) -> None:
    found = compute_logits(Rejecting(bad, at_once=at_once), build_batch(values), **PLAIN)
    assert found.rows == [row for row, value in enumerate(values) if value not in bad]
    assert set(found.errors) == set(range(len(values))) - set(found.rows)
    assert (255 * found.logits).round().int().tolist() == [[values[row]] * 3 for row in found.rows]


def test_an_error_that_names_no_clip_is_raised() -> None:
    class Unknown(nn.Module):
        def forward(self, *given: Any) -> Tensor:
            raise NotFiniteError("the weights are NaN", [])

    with pytest.raises(NotFiniteError, match="the weights are NaN"):
        compute_logits(Unknown(), build_batch([1, 2]), **PLAIN)
