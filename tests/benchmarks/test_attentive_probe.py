"""The comparison of VTN with the attentive probe."""

from __future__ import annotations

import pytest
import torch

from benchmarks import temporal
from benchmarks.support.attentive_probe import PROBE_NAME, VTN_NAME, build_models, count_gmacs
from tests.support.code.command_line import parse
from vtn.encoder.encoder_layer import CHUNK


@pytest.mark.parametrize("tokens", [1, 9])
def test_vtn_is_linear_in_the_frames_and_the_probe_quadratic(tokens: int) -> None:
    """The second difference over equal steps is 0, or 2 · D products per pair of tokens and block."""
    step = 2 * CHUNK // tokens  # frames; VTN computes whole chunks of tokens
    with torch.device("meta"):
        models = build_models(tokens)
    for name, model in models.items():
        first, second, third = (count_gmacs(model, frames, tokens) for frames in (step, 2 * step, 3 * step))
        difference = third - 2 * second + first
        if name == PROBE_NAME:
            assert difference == pytest.approx(3 * 2 * 768 * 2 * (step * tokens) ** 2 / 1e9, rel=1e-6)
        else:  # windows are computed in whole blocks of frames, a chunk with its halo
            assert abs(difference) < 0.03 * first


def test_a_row_per_number_of_frames_and_tokens_and_the_limit_of_the_probe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.support.attentive_probe.TRAINING_BATCH", 2)
    monkeypatch.setattr("benchmarks.support.attentive_probe.MAX_TOKENS", 16)
    options = "--against probe --lengths 2 9 --training 2 9 --tokens 2 --rounds 1"
    report = temporal.run(parse(temporal, *options.split()))
    assert [(row["mode"], row["tokens"], row["frames"]) for row in report.rows] == [
        ("inference", 2, 2),
        ("inference", 2, 9),
        ("training, 2 clips", 2, 2),
        ("training, 2 clips", 2, 9),
    ]
    for row in report.rows:
        assert row[VTN_NAME] > 0
        assert row["VTN sequence"] > 0
        assert (PROBE_NAME in row) is (f"× {VTN_NAME}" in row) is (row["frames"] == 2)
        assert set(row) <= set(report.columns)
    assert all(f"{PROBE_NAME} GMACs" in row for row in report.rows if row["mode"] == "inference")
