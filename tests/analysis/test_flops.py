"""What `analyze.py flops` tells of a configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from slowfast.cli.analyze import main
from slowfast.models.complexity import Macs, measure_complexity


class Attending(nn.Module):
    """A list of two linear layers, and one product of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 4), nn.Linear(4, 2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x @ x.transpose(1, 2)


def test_products_with_weights_and_those_of_attention() -> None:
    complexity = measure_complexity(Attending(), torch.zeros(3, 5, 8))
    assert complexity.modules["layers.0"] == Macs(weights=3 * 5 * 8 * 4, attention=0)
    assert complexity.modules["layers"] == Macs(weights=3 * 5 * (8 * 4 + 4 * 2), attention=0)
    assert complexity.total == Macs(weights=3 * 5 * (8 * 4 + 4 * 2), attention=3 * 5 * 5 * 2)


def test_counting_leaves_a_model_as_it_was() -> None:
    model = Attending().train()
    measure_complexity(model, torch.zeros(1, 5, 8))
    assert model.training


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    json_file = tmp_path / "flops.json"
    assert main(["flops", "--cfg", "QUICKSTART", "--frames", "16", "--json", str(json_file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "VTN, a view of 16 frames of 32 × 32 pixels"
    assert [line.split()[0] for line in lines[2:5]] == ["backbone", "temporal_encoder", "mlp_head"]
    assert lines[5].startswith("in all")
    assert lines[6].startswith("a test video has 1 view by this configuration")
    figures = {row["module"]: row for row in json.loads(json_file.read_text())}
    parts = ("backbone", "temporal_encoder", "mlp_head")
    assert sum(figures[part]["macs"] for part in parts) == figures["in all"]["macs"]
    assert figures["temporal_encoder"]["attention_macs"] > 0 == figures["backbone"]["attention_macs"]


def test_views_of_the_test_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flops", "--cfg", "C2D_8x8_R50", "RESNET.WIDTH_PER_GROUP", "8"]) == 0
    assert "a test video has 30 views" in capsys.readouterr().out


def test_a_wrong_configuration_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flops", "--cfg", "NOTHING"]) != 0
    assert "there is no such file" in capsys.readouterr().err


def test_a_size_that_is_left_to_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flops", "--cfg", "QUICKSTART", "DATA.TEST_CROP_SIZE", "0"]) == 0
    assert "frames of 32 × 32 pixels" in capsys.readouterr().out
