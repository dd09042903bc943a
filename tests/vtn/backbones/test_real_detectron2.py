"""The detectron2 adapter with detectron2 itself: features are the means of detectron2's own feature maps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vtn.backbones.build import build_backbone

pytest.importorskip("detectron2", reason="detectron2 is not installed; see its installation instructions")

# Small networks of the three kinds of backbones in detectron2's model zoo.
FPN = """
MODEL:
  BACKBONE: {NAME: build_resnet_fpn_backbone}
  RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64, OUT_FEATURES: [res2, res3, res4, res5]}
  FPN: {IN_FEATURES: [res2, res3, res4, res5], OUT_CHANNELS: 16}
  RPN: {IN_FEATURES: [p2, p3, p4, p5, p6]}
  ROI_HEADS: {NAME: StandardROIHeads, IN_FEATURES: [p2, p3, p4, p5]}
  ROI_BOX_HEAD: {NAME: FastRCNNConvFCHead, NUM_FC: 1, POOLER_RESOLUTION: 7}
  ANCHOR_GENERATOR: {SIZES: [[32], [64], [128], [256], [512]]}
"""
C4 = """
MODEL:
  RESNETS: {DEPTH: 50, OUT_FEATURES: [res4], STEM_OUT_CHANNELS: 8, RES2_OUT_CHANNELS: 16, WIDTH_PER_GROUP: 4}
"""
RETINANET = """
MODEL:
  META_ARCHITECTURE: RetinaNet
  BACKBONE: {NAME: build_retinanet_resnet_fpn_backbone}
  RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64, OUT_FEATURES: [res3, res4, res5]}
  FPN: {IN_FEATURES: [res3, res4, res5], OUT_CHANNELS: 16}
  ANCHOR_GENERATOR: {SIZES: [[32], [64], [128], [256], [512]]}
INPUT: {FORMAT: RGB}
"""


@pytest.mark.parametrize(
    ("text", "coarsest", "other"),
    [(FPN, "p6", "p2"), (C4, "res4", "res4"), (RETINANET, "p7", "p3")],
    ids=["FPN", "C4", "RetinaNet"],
)
def test_features_are_the_means_of_the_feature_maps(
    text: str, coarsest: str, other: str, tmp_path: Path
) -> None:
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    config, weights = tmp_path / "config.yaml", tmp_path / "weights.pth"
    config.write_text(text)
    cfg = get_cfg()
    cfg.merge_from_file(str(config))
    cfg.MODEL.DEVICE = "cpu"
    torch.manual_seed(0)
    detector = build_model(cfg).eval()
    torch.save({"model": detector.state_dict()}, weights)

    images = torch.randn(2, 3, 70, 65)  # red, green, blue
    blue_first = cfg.INPUT.FORMAT == "BGR"
    multiple = max(detector.backbone.size_divisibility, 1)
    padded = torch.zeros(2, 3, -(-70 // multiple) * multiple, -(-65 // multiple) * multiple)
    padded[:, :, :70, :65] = images.flip(1) if blue_first else images
    with torch.no_grad():
        maps = detector.backbone(padded)
    for feature, options in ((coarsest, {}), (other, {"feature": other})):
        built = build_backbone(
            f"detectron2:{config}",
            pretrained=True,
            options={**options, "opts": ["MODEL.WEIGHTS", str(weights)]},
        )
        with torch.no_grad():
            features = built.network.eval()(images)
        assert features.shape == (2, built.feature_dim)
        torch.testing.assert_close(features, maps[feature].mean((2, 3)), atol=1e-6, rtol=1e-5)
    assert (built.mean[0] < built.mean[2]) == (not blue_first)
