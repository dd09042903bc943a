"""Regions of a frame are those of the network itself.

N images, A heads, L tokens.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from slowfast.datasets.clip import Normalization
from slowfast.models.frame_encoder import FrameEncoder
from tests.support.tiny_models import tiny, video_features, with_large_weights
from vtn import VTN
from vtn.explaining.attribution import feature_gradient
from vtn.explaining.frame_scorer import FrameScorer
from vtn.explaining.regions.build import GRAD_CAM, TOKEN_ATTENTION, find_regions
from vtn.explaining.regions.grad_cam import grad_cam, last_map
from vtn.explaining.regions.vit_attention import class_token_attention
from vtn.inference.features import VideoFeatures

SMALL = {"num_classes": 5, "pretrained": False, "hidden_dim": 32, "num_heads": 2, "num_layers": 1}


@pytest.mark.parametrize(("size", "stage"), [(16, "stages.8"), (32, "stages")])
def test_the_last_map_has_several_places(size: int, stage: str) -> None:
    """At 16 pixels the last convolution has one place, and the one before it has 2 × 2."""
    model = tiny(backbone_args={"image_size": size, "width": 4, "feature_dim": 24})
    found = last_map(model.backbone, model.image_features, torch.zeros(1, 3, size, size))
    assert found is model.backbone.get_submodule(stage)


@pytest.mark.parametrize("frozen", [False, True])
def test_grad_cam_is_that_of_the_whole_model(frozen: bool) -> None:
    """The oracle differentiates the score of the video with respect to the map of all frames at once."""
    torch.manual_seed(0)
    model = tiny(backbone_args={"image_size": 32, "width": 4, "feature_dim": 24}, frozen=frozen)
    images = torch.randn(4, 3, 32, 32)
    kept: list[torch.Tensor] = []
    hook = model.backbone.stages.register_forward_hook(lambda module, inputs, output: kept.append(output))
    with torch.enable_grad():
        rows = model.image_features(images.clone().requires_grad_())
        logits = model.classify(rows[None])
    hook.remove()
    (slope,) = torch.autograd.grad(logits[0, 2], kept[0])
    expected = (slope.mean((2, 3), keepdim=True) * kept[0]).sum(1).relu()  # (4, 2, 2)
    assert expected.max() > 0

    features = rows.detach()[None].requires_grad_()
    (gradient,) = torch.autograd.grad(model.classify(features)[0, 2], features)
    found = grad_cam(model.backbone, model.image_features, images, gradient[0])
    assert found is not None
    torch.testing.assert_close(found, expected.detach(), atol=1e-6, rtol=1e-4)


@torch.no_grad()
def test_attention_of_a_timm_transformer_equals_its_products() -> None:
    model = with_large_weights(VTN("test_vit", backbone_args={"img_size": 32}, **SMALL))
    images = torch.randn(2, 3, 32, 32)
    network = model.backbone
    block = network.blocks[-1]
    inputs: list[torch.Tensor] = []
    hook = block.attn.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    before = model.image_features(images)
    hook.remove()
    qkv = block.attn.qkv(inputs[0]).unflatten(-1, (3, block.attn.num_heads, -1))
    query, key, _ = qkv.permute(2, 0, 3, 1, 4)  # each (N, A, L, E)
    query, key = block.attn.q_norm(query), block.attn.k_norm(key)
    weights = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1).mean(1)
    found = class_token_attention(network, model.image_features, images)
    assert found is not None
    torch.testing.assert_close(found.flatten(1), weights[:, 0, network.num_prefix_tokens :])
    # The network computes as before afterwards.
    torch.testing.assert_close(model.image_features(images), before)


@torch.no_grad()
def test_attention_of_a_hugging_face_transformer_is_that_which_it_returns() -> None:
    args = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "image_size": 32, "patch_size": 8,
    }  # fmt: skip
    model = with_large_weights(VTN("hf:vit", backbone_args=args, **SMALL))
    images = torch.randn(2, 3, 32, 32)
    found = class_token_attention(model.backbone, model.image_features, images)
    assert found is not None
    assert found.shape == (2, 4, 4)
    network = model.backbone.model
    implementation = network.config._attn_implementation
    network.set_attn_implementation("eager")
    expected = network(pixel_values=images, output_attentions=True).attentions[-1].mean(1)[:, 0, 1:]
    network.set_attn_implementation(implementation)
    torch.testing.assert_close(found.flatten(1), expected)
    assert implementation != "eager"


@torch.no_grad()
def test_attention_of_torchs_own_module() -> None:
    class Network(nn.Module):
        """A class token, 3 × 3 patches and one attention, as in torchvision's transformers."""

        def __init__(self) -> None:
            super().__init__()
            self.class_token = nn.Parameter(torch.randn(1, 1, 12))
            self.self_attention = nn.MultiheadAttention(12, 2, batch_first=True)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            patches = nn.functional.unfold(images, 2, stride=2).transpose(1, 2)  # (N, 9, 12)
            tokens = torch.cat([self.class_token.expand(len(images), -1, -1), patches], dim=1)
            return self.self_attention(tokens, tokens, tokens, need_weights=False)[0][:, 0]

    network = Network().eval()
    images = torch.randn(2, 3, 6, 6)
    found = class_token_attention(network, network, images)
    assert found is not None
    patches = nn.functional.unfold(images, 2, stride=2).transpose(1, 2)
    tokens = torch.cat([network.class_token.expand(2, -1, -1), patches], dim=1)
    weights = network.self_attention(tokens, tokens, tokens, need_weights=True)[1]
    torch.testing.assert_close(found.flatten(1), weights[:, 0, 1:])
    assert network(images).shape == (2, 12)


@pytest.mark.parametrize("fusion", ["sequence", "attend", "concat"])
def test_attention_to_the_tokens_of_a_frame(fusion: str) -> None:
    model = tiny(
        backbone_args={"image_size": 32, "width": 4, "feature_dim": 24}, tokens=(2, 2), fusion=fusion
    )
    frames = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    encoder = FrameEncoder(model, Normalization(model.frame_mean, model.frame_std), torch.device("cpu"))
    video = video_features(3)
    video = VideoFeatures(encoder.encode(frames), video.times, video.indices)
    scorer = FrameScorer.of_video(model, video)
    rows = np.array([2, 0])
    regions = find_regions(encoder, scorer, frames.numpy()[rows], rows, feature_gradient(scorer, 1))
    assert regions.note == ""
    assert regions.maps[GRAD_CAM].shape == (2, 2, 2)
    if fusion == "concat":
        assert TOKEN_ATTENTION not in regions.maps
        return
    weights = model.token_attention(scorer.features, scorer.positions)
    assert weights is not None
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 3))
    expected = (weights / weights.amax(-1, keepdim=True))[0, [2, 0]].unflatten(1, (2, 2))
    np.testing.assert_allclose(regions.maps[TOKEN_ATTENTION], expected.detach().numpy(), rtol=1e-5)
