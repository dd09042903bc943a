"""The ways of the extraction benchmark compute the same features."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks import extract
from tests.support.videos import write_video
from vtn import VTN, BackboneConfig


@torch.no_grad()
def test_a_plain_script_gives_nearly_the_same_features(tmp_path: Path) -> None:
    """Scaling differs slightly: both resize with antialiasing, in steps of their own."""
    model = VTN(BackboneConfig("test_efficientnet", pretrained=False)).eval()
    path = write_video(tmp_path / "v.mp4", 40, size=(256, 340))
    files = extract.Files([path, path], frames=40, workers=2, computing=2)
    ours = files.extract(model)
    plain = extract._extract_plainly(model.backbone, model, files.paths, 40)
    alone = files.encode(model, [extract._decode(path, 40)] * 2)
    assert ours.shape == plain.shape == (80, model.feature_dim)
    torch.testing.assert_close(alone, ours, atol=1e-4, rtol=1e-4)
    assert (ours - plain).norm() / ours.norm() < 0.05
