"""The ways of the training benchmark take the same step."""

from __future__ import annotations

import pytest

from benchmarks.learning import train
from tests.support.code.command_line import parse

ONE_LAYER = ["VTN.LONGFORMER.NUM_HIDDEN_LAYERS", "1", "VTN.LONGFORMER.ATTENTION_WINDOW", "[6]"]
SMALL = [*ONE_LAYER, "MODEL.NUM_CLASSES", "5"]


@pytest.mark.parametrize("case", ["cached", "quickstart"])
def test_all_ways_begin_with_the_same_loss(case: str) -> None:
    ways = ("float32", "bfloat16", "original")
    given = ["--cases", case, "--frames", "6", "--clips", "2", "--rounds", "1", "--ways", *ways]
    (row,) = train.run(parse(train, *given, "--opts", *SMALL)).rows
    losses = row["losses"]
    assert losses["original"] == pytest.approx(losses["float32"], rel=1e-5)
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    assert losses["bfloat16"] != losses["float32"]
    assert {*ways} <= row.keys()
    assert row["float32 × original"] > 0


def test_frames_pass_the_backbone_in_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    small = train.Case("VIT_B_VTN", 1, changes=("VTN.BACKBONE.NAME", "vit_tiny_patch16_224"))
    monkeypatch.setattr(train, "CASES", {"vit-b": small})
    given = ["--cases", "vit-b", "--frames", "2", "--rounds", "1", "--ways", "float32", "original"]
    (row,) = train.run(parse(train, *given, "--opts", *SMALL)).rows
    assert row["losses"]["original"] == pytest.approx(row["losses"]["float32"], rel=1e-4)
