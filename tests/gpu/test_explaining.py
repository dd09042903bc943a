"""Explanations on a GPU are those on the CPU, up to rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from slowfast.datasets.clip import Normalization
from slowfast.models.frame_encoder import FrameEncoder
from tests.support.tiny_models import tiny
from tests.support.tiny_models import video_features as random_video
from vtn.explaining.explain import measure_influence, score_prefixes
from vtn.explaining.frame_scorer import FrameScorer
from vtn.explaining.regions.build import GRAD_CAM, find_regions

BACKBONE = {"image_size": 32, "width": 4, "feature_dim": 24}


@pytest.mark.usefixtures("exact_float32")
def test_influence_and_regions(device: torch.device) -> None:
    frames = torch.randint(0, 256, (6, 32, 32, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    rows = np.array([4, 1])
    found = []
    for place in (torch.device("cpu"), device):
        model = tiny(backbone_args=BACKBONE).to(place)
        encoder = FrameEncoder(model, Normalization(model.frame_mean, model.frame_std), place)
        video = replace(random_video(6), features=encoder.encode(frames).cpu())
        scorer = FrameScorer.of_video(model, video)
        influence = measure_influence(scorer, 2)
        regions = find_regions(encoder, scorer, frames.numpy()[rows], rows, influence.slope)
        found.append((influence, score_prefixes(scorer).scores, regions.maps[GRAD_CAM]))
    (one, prefixes, maps), (other, other_prefixes, other_maps) = found
    assert one.attention is not None
    assert other.attention is not None
    for expected, values in (
        (one.occlusion.evidence, other.occlusion.evidence),
        (one.gradient, other.gradient),
        (one.attention.layers, other.attention.layers),
        (one.attention.rollout, other.attention.rollout),
        (prefixes, other_prefixes),
        (maps, other_maps),
    ):
        np.testing.assert_allclose(values, expected, atol=5e-3, rtol=5e-3)
