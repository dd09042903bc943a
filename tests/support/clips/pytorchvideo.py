"""Networks of pytorchvideo with few channels, and the clip encoders that have their weights."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from pytorchvideo.models import hub
from torch import Tensor, nn

from vtn.backbones.base import Backbone
from vtn.backbones.build import build_backbone

# Real architectures with few channels.
MVIT: dict[str, Any] = {
    "depth": 3, "patch_embed_dim": 8, "temporal_size": 8, "spatial_size": 32, "embed_dim_mul": [[1, 2.0]],
    "atten_head_mul": [[1, 2.0]], "pool_q_stride_size": [[1, 1, 2, 2]], "pool_kv_stride_adaptive": [1, 2, 2],
}  # fmt: skip
SMALL: dict[str, dict[str, Any]] = {
    "c2d_r50": {"stem_dim_out": 4},
    "i3d_r50": {"stem_dim_out": 4},
    "slow_r50": {"stem_dim_out": 4},
    "slowfast_r50": {"stem_dim_outs": (16, 2)},
    "csn_r101": {"stem_dim_out": 4},
    "r2plus1d_r50": {"stem_dim_out": 4},
    "x3d_xs": {"stem_dim_in": 4, "width_factor": 1.0, "depth_factor": 1.0},
    "mvit_base_16x4": {**MVIT, "cls_embed_on": False},
}
HEAD_OF = dict.fromkeys(SMALL, "blocks.5.proj") | {
    **dict.fromkeys(("c2d_r50", "i3d_r50", "slowfast_r50"), "blocks.6.proj"),
    "mvit_base_16x4": "head.proj",
}


def whole_network(name: str, **options: Any) -> nn.Module:
    """Returns the network with its head, with weights that switch off none of its parts, as new ones do."""
    torch.manual_seed(0)
    network = getattr(hub, name)(head_activation=None, **options).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm3d | nn.LayerNorm):  # zero scales switch branches off
                module.weight.uniform_(0.5, 1.0)
                module.bias.uniform_(-0.2, 0.2)
        for parameter in network.get_submodule(HEAD_OF[name]).parameters():  # logits of about 1
            parameter.normal_()
    return network


def build_small(name: str, **options: Any) -> Backbone:
    """Returns a clip encoder with new weights, in evaluation mode."""
    torch.manual_seed(1)
    built = build_backbone(f"pytorchvideo:{name}", pretrained=False, options=options)
    built.network.eval()
    return built


def encoder_of(whole: nn.Module, name: str, **options: Any) -> Backbone:
    """Returns the clip encoder with the weights of a whole network."""
    built = build_small(name, **options)
    lacking, unexpected = built.network.load_state_dict(whole.state_dict(), strict=False)
    assert lacking == []
    assert all(entry.startswith(built.classifier) for entry in unexpected)
    return built


@cache
def small_pair(name: str) -> tuple[nn.Module, Backbone]:
    """Returns the whole network of a family and its clip encoder, which tests do not change."""
    whole = whole_network(name, **SMALL[name])
    return whole, encoder_of(whole, name, **SMALL[name])


def clips_for(built: Backbone, size: int | None = None, count: int = 1) -> Tensor:
    """Returns clips (N, 3, t, H, W) of the encoder's length."""
    assert built.clip is not None
    size = size or built.image_size
    generator = torch.Generator().manual_seed(2)
    return torch.randn(count, 3, built.clip.frames, size, size, generator=generator)  # type: ignore[arg-type]


def places_of(built: Backbone, clips: Tensor, stage: int = 0) -> Tensor:
    """Returns the features (N, s, h, w, F) of a backbone's map."""
    assert built.feature_map is not None
    found = built.feature_map(built.network, clips, stage)
    assert found.class_token is None
    return found.places
