"""The analysis ``flops``: parameters and multiply-adds of a configuration's model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from slowfast.cli.analyze import main
from slowfast.models.complexity import Macs, measure_complexity


class SmallAttention(nn.Module):
    """Two linear layers in a list, followed by one matrix product as in attention."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 4), nn.Linear(4, 2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x @ x.transpose(1, 2)


def test_multiply_adds_with_weights_and_of_attention_are_counted_separately() -> None:
    complexity = measure_complexity(SmallAttention(), torch.zeros(3, 5, 8))
    assert complexity.modules["layers.0"] == Macs(weights=3 * 5 * 8 * 4, attention=0)
    assert complexity.modules["layers"] == Macs(weights=3 * 5 * (8 * 4 + 4 * 2), attention=0)
    assert complexity.total == Macs(weights=3 * 5 * (8 * 4 + 4 * 2), attention=3 * 5 * 5 * 2)


class FusedAttention(nn.Module):
    """Attention by the function for which torch has fused kernels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(x, x, x)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_fused_attention_is_counted_on_every_device(device: str) -> None:
    """Per head the scores and the weighted sum take S · S · E multiply-adds each."""
    complexity = measure_complexity(FusedAttention(), torch.zeros(2, 3, 5, 8, device=device))
    assert complexity.total == Macs(weights=0, attention=2 * 3 * 2 * 5 * 5 * 8)


def test_counting_does_not_change_the_mode_of_a_model() -> None:
    model = SmallAttention().train()
    measure_complexity(model, torch.zeros(1, 5, 8))
    assert model.training
    with pytest.raises(RuntimeError):
        measure_complexity(model, torch.zeros(2, 7))
    assert model.training


def test_the_table_and_the_json_file_have_the_counts_of_all_modules(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    json_file = tmp_path / "flops.json"
    assert main(["flops", "--cfg", "QUICKSTART", "--frames", "16", "--json", str(json_file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "VTN, one view of 16 frames of 32 × 32 pixels"
    assert [line.split()[0] for line in lines[2:5]] == ["backbone", "temporal_encoder", "mlp_head"]
    assert lines[5].startswith("total")
    assert lines[6].startswith("a test video has 1 view in this configuration")
    assert lines[7:] == [f"counts of all modules: {json_file}"]
    counts = {row["module"]: row for row in json.loads(json_file.read_text())}
    modules = ("backbone", "temporal_encoder", "mlp_head")
    assert sum(counts[module]["macs"] for module in modules) == counts["total"]["macs"]
    assert counts["temporal_encoder"]["attention_macs"] > 0 == counts["backbone"]["attention_macs"]


def test_views_of_the_test_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flops", "--cfg", "C2D_8x8_R50", "RESNET.WIDTH_PER_GROUP", "8"]) == 0
    assert "a test video has 30 views" in capsys.readouterr().out


def test_an_unknown_configuration_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flops", "--cfg", "NOTHING"]) != 0
    assert "does not exist" in capsys.readouterr().err


def test_a_crop_size_of_zero_means_the_size_of_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flops", "--cfg", "QUICKSTART", "DATA.TEST_CROP_SIZE", "0"]) == 0
    assert "frames of 32 × 32 pixels" in capsys.readouterr().out
