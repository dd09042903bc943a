"""``slowfast analyze``: analyses are found, and backbones are listed with their sizes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from slowfast.cli.analyze import main


def test_a_backbone_whose_constructor_reads_tensors_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of the meta device have no values."""
    assert main(["backbones", "torchvision:regnet_y_400mf"]) == 0
    assert re.search(r"^torchvision:regnet_y_400mf +440 +3\.90 ", capsys.readouterr().out, re.MULTILINE)


def test_backbones_are_listed_by_pattern(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """timm publishes 5.5 million parameters and 1.26 GMACs, attention included, for this model."""
    assert main(["backbones", "vit_tiny_patch16_22?", "--json", str(tmp_path / "b.json")]) == 0
    (backbone,) = json.loads((tmp_path / "b.json").read_text())
    assert backbone["name"] == "vit_tiny_patch16_224"
    assert (backbone["width"], backbone["input_size"], backbone["fixed_size"]) == (192, 224, True)
    assert backbone["parameters"] == 5_524_416
    assert backbone["gmacs"] == pytest.approx(1.26, rel=0.01)
    assert backbone["mean"] == [0.5, 0.5, 0.5]
    assert "augreg_in21k_ft_in1k" in backbone["weights"]
    title, row, written = capsys.readouterr().out.splitlines()
    assert written == f"table: {tmp_path / 'b.json'}"
    assert title.split()[:2] == ["backbone", "width"]
    assert row.split()[:5] == ["vit_tiny_patch16_224", "192", "5.52", "1.25", "224"]


def test_a_backbone_of_any_source_is_listed_with_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backbones", "shallow_conv", "--args", "image_size", "32", "feature_dim", "40"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:5] == [
        "shallow_conv",
        "40",
        "0.07",
        "0.000858",
        "32",
    ]
    assert main(["backbones", "torchvision:shufflenet_v2_x0_5"]) == 0
    assert "IMAGENET1K_V1" in capsys.readouterr().out


def test_clip_encoders_are_listed_with_the_frames_of_a_clip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The multiply-adds are those of a frame: one eighth of the clip's."""
    assert main(["backbones", "pytorchvideo:slow_r*", "--json", str(tmp_path / "b.json")]) == 0
    (backbone,) = json.loads((tmp_path / "b.json").read_text())
    assert (backbone["name"], backbone["clip_frames"]) == ("pytorchvideo:slow_r50", 8)
    # The model zoo of pytorchvideo states 54.52 GMACs per clip of 256 × 256 pixels, head included.
    assert backbone["gmacs"] == pytest.approx(54.52 / 8 * (224 / 256) ** 2, rel=0.01)
    row = capsys.readouterr().out.splitlines()[1]
    assert "8×224+" in row
    assert row.endswith("SLOW_8x8_R50")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("no_such_*", "no_such_*: matches no backbone"),
        ("hf:*", "hf has no list of models"),
        ("vit_tiny_patch16_225", "did you mean vit_tiny_patch16_224"),
    ],
)
def test_a_pattern_that_matches_nothing_is_refused(
    pattern: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backbones", pattern]) == 1
    assert message in capsys.readouterr().err
