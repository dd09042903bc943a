"""Training of parts of a clip encoder of `transformers`: frozen blocks, norms, LoRA, stages, shards."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.backbones.training_step import train_a_step
from tests.support.tiny_clips import FAMILIES, TINY_CLIPS, clips_of, randomize
from vtn import FrameAverage
from vtn.backbones.tuning.blocks import blocks_of, parameter_depths


def model_of(model_type: str, **options: Any) -> FrameAverage:
    """A classifier of the mean over time steps, whose backbone has random weights in every parameter."""
    torch.manual_seed(0)
    model = FrameAverage(
        f"hf:{model_type}", 3, pretrained=False, backbone_args=TINY_CLIPS[model_type], mlp_dim=8,
        dropout_rate=0.0, **options,
    )  # fmt: skip
    if "lora" not in options:
        randomize(model.backbone)
    return model


def frames_of(model: FrameAverage) -> Tensor:
    """Two sequences of one and a half clips."""
    assert model.clip_grid is not None
    assert model.frame_size is not None
    return clips_of(model.clip_grid.frames * 3 // 2, model.frame_size)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_parameter_learns(model_type: str) -> None:
    """Except the biases of keys, which add the same to all scores of a query."""
    model = model_of(model_type)
    changed = train_a_step(model, frames_of(model))
    unchanged = {name for name, _ in model.backbone.named_parameters()} - changed
    assert all(name.endswith(("key.bias", "k_proj.bias")) for name in unchanged)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_depths_follow_the_computation(model_type: str) -> None:
    """The stem has depth 0, each block its number, and the final norm that of the last block."""
    network: Any = model_of(model_type).backbone
    depths = parameter_depths(network)
    assert list(depths.values()) == sorted(depths.values())
    for number, block in enumerate(network.blocks, start=1):
        names = {
            name for name, p in network.named_parameters() if any(p is own for own in block.parameters())
        }
        assert {depths[name] for name in names} == {number}
    assert {depth for name, depth in depths.items() if "patch_embed" in name or "position" in name} <= {0, 2}
    norms = [name for name in depths if name.rpartition(".")[0].endswith(("model.layernorm", "layernorm2"))]
    assert all(depths[name] == len(network.blocks) for name in norms)
    assert list(blocks_of(network)) == list(network.blocks)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_frozen_first_blocks_do_not_change(model_type: str) -> None:
    model = model_of(model_type, frozen_blocks=2)
    depths = parameter_depths(model.backbone)
    frozen = {name for name, depth in depths.items() if depth <= 2}
    assert frozen == {name for name, p in model.backbone.named_parameters() if not p.requires_grad}
    changed = train_a_step(model, frames_of(model))
    assert changed
    assert not changed & frozen


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_frozen_encoder_with_learning_norms_changes_them_only(model_type: str) -> None:
    model = model_of(model_type, frozen=True, learning_norms=True)
    changed = train_a_step(model, frames_of(model))
    assert changed
    assert all("norm" in name for name in changed)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_lora_starts_at_the_encoder_s_features_and_learns(model_type: str) -> None:
    plain, adapted = model_of(model_type).eval(), model_of(model_type, lora={"rank": 2}).eval()
    adapted.load_state_dict(plain.state_dict())
    frames = frames_of(plain)
    with torch.no_grad():
        torch.testing.assert_close(adapted(frames), plain(frames))
    changed = train_a_step(adapted, frames_of(adapted))
    assert changed
    assert all(".lora_" in name for name in changed)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_blocks_after_the_stage_learn_nothing(model_type: str) -> None:
    model = model_of(model_type, stage=1)
    depths = parameter_depths(model.backbone)
    changed = train_a_step(model, frames_of(model))
    last = max(depths[name] for name in changed if "norm1" not in name and ".layernorm" not in name)
    assert last == 1


@pytest.mark.parametrize("model_type", FAMILIES)
def test_recomputed_activations_give_the_same_gradients(model_type: str) -> None:
    """The first block is frozen and computes in bfloat16; its output continues in float32."""
    gradients = []
    for recompute in (False, True):
        model = model_of(model_type, frozen_blocks=1, frozen_dtype="bfloat16", act_checkpoint=recompute)
        model.train()
        model(frames_of(model)).square().sum().backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_frozen_encoder_computes_in_bfloat16(model_type: str) -> None:
    exact = model_of(model_type, frozen=True).eval()
    fast = model_of(model_type, frozen=True, frozen_dtype="bfloat16").eval()
    frames = frames_of(exact)
    with torch.no_grad():
        expected, found = exact.encode_frames(frames), fast.encode_frames(frames)
    assert 0 < (found.float() - expected).abs().max() < 0.2
