"""Sizes of published clip encoders, on the meta device, beside the figures of their authors."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch

from slowfast.models.complexity import measure_complexity
from vtn.backbones.build import build_backbone

VIT_L = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096}


class Published(NamedTuple):
    """A published configuration.

    Attributes:
        name, options: of the backbone.
        shape: (s, h, w, F) of its features.
        millions: parameters, 10⁶.
        gmacs: multiply-adds per clip, 10⁹; None: not counted here, since it takes seconds.
    """

    name: str
    options: dict[str, Any]
    shape: tuple[int, int, int, int]
    millions: float
    gmacs: float | None


ENCODERS = {
    # Authors: 300 M (repository vjepa2, README).
    "V-JEPA 2 ViT-L": Published("hf:vjepa2", {}, (32, 16, 16, 1024), 303.89, 5785.3),
    # Authors: 1 B.
    "V-JEPA 2 ViT-g 384": Published(
        "hf:vjepa2",
        {
            "hidden_size": 1408, "num_hidden_layers": 40, "num_attention_heads": 22, "mlp_ratio": 48 / 11,
            "crop_size": 384,
        },
        (32, 24, 24, 1408), 1012.17, None,
    ),
    # Authors: 80 M, 300 M, 1 B and 2 B (ibid.); the predictor is not counted.
    "V-JEPA 2.1 ViT-B": Published("vjepa2_1_vit_base_384", {}, (32, 24, 24, 768), 86.24, 7849.3),
    "V-JEPA 2.1 ViT-L": Published("vjepa2_1_vit_large_384", {}, (32, 24, 24, 1024), 303.89, None),
    "V-JEPA 2.1 ViT-g": Published("vjepa2_1_vit_giant_384", {}, (32, 24, 24, 1408), 1012.18, None),
    "V-JEPA 2.1 ViT-G": Published("vjepa2_1_vit_gigantic_384", {}, (32, 24, 24, 1664), 1843.93, None),
    # Authors: 180 GFLOPs per clip; 87 M and 305 M with a classifier (paper, table of Kinetics-400).
    "VideoMAE ViT-B": Published("hf:videomae", {}, (8, 14, 14, 768), 86.23, 180.3),
    "VideoMAE ViT-L": Published(
        "hf:videomae", {**VIT_L, "num_hidden_layers": 24}, (8, 14, 14, 1024), 303.86, None
    ),
    # Authors: 0.59, 5.11 and 7.14 TFLOPs for three crops; 121.4 M with a classifier (paper, section 4).
    "TimeSformer": Published("hf:timesformer", {}, (8, 14, 14, 768), 121.26, 195.8),
    "TimeSformer-HR": Published(
        "hf:timesformer", {"num_frames": 16, "image_size": 448}, (16, 28, 28, 768), 121.72, 1702.7
    ),
    "TimeSformer-L": Published("hf:timesformer", {"num_frames": 96}, (96, 14, 14, 768), 121.33, 2379.9),
    # Authors: 455.2 GFLOPs and 88.9 M with a classifier (paper, comparison of the models).
    "ViViT-B/16x2": Published("hf:vivit", {}, (16, 14, 14, 768), 88.65, 451.5),
    # Authors: 114 M and 354 M (repository videoprism, README).
    "VideoPrism-B": Published("hf:videoprism_vision_model", {}, (16, 16, 16, 768), 114.37, 486.6),
    "VideoPrism-L": Published(
        "hf:videoprism_vision_model", {**VIT_L, "num_spatial_layers": 24, "num_frames": 8},
        (8, 16, 16, 1024), 353.97, None,
    ),
}  # fmt: skip


@pytest.fixture
def no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """`transformers` computes VideoMAE's positions for seconds, and they are not used here."""
    monkeypatch.setattr(
        "transformers.models.videomae.modeling_videomae.get_sinusoid_encoding_table",
        lambda count, width: torch.zeros(1, count, width),
    )


@pytest.mark.usefixtures("no_table")
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_published_encoder_has_its_size(encoder: str) -> None:
    name, options, shape, millions, gmacs = ENCODERS[encoder]
    with torch.device("meta"):
        built = build_backbone(name, pretrained=False, options=options)
    assert sum(p.numel() for p in built.network.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
    assert (built.network.trained_grid, built.feature_dim) == (shape[:3], shape[3])
    if gmacs is not None:
        assert built.clip is not None
        assert built.image_size is not None
        clips = torch.zeros(1, 3, built.clip.frames, built.image_size, built.image_size, device="meta")
        assert built.network(clips).shape == (1, shape[0], shape[3])
        assert measure_complexity(built.network, clips).total.total / 1e9 == pytest.approx(gmacs, rel=1e-3)
