"""The attentive pooler equals that of transformers' V-JEPA 2 and torch's layers with the same weights.

Shapes: B clips, T frames, M tokens of a frame, F width of a token, D width, S = T · M tokens.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slowfast.errors import ModelError
from vtn import ProbeConfig
from vtn.encoder.attentive_pooler import AttentivePooler, CrossAttentionBlock, SelfAttentionBlock

WIDTH, HEADS, BLOCKS = 24, 3, 4


def make_pooler(feature_dim: int = WIDTH, num_tokens: int = 1, **changes: Any) -> AttentivePooler:
    """Returns a float64 pooler whose weights are large enough to show mistakes."""
    arguments = {"hidden_dim": WIDTH, "num_blocks": BLOCKS, "num_heads": HEADS, "position": "none"}
    torch.manual_seed(0)
    pooler = AttentivePooler(feature_dim, ProbeConfig(**{**arguments, **changes}), num_tokens).double()
    with torch.no_grad():
        for parameter in pooler.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return pooler.eval()


def random_tokens(T: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(T)
    return torch.randn(2, T, *(shape or (WIDTH,)), dtype=torch.float64, generator=generator)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-10, rtol=0)


def names_in_transformers(pooler: AttentivePooler) -> dict[str, Tensor]:
    """Returns the weights by the names of ``VJEPA2AttentivePooler``."""
    weights = {"query_tokens": pooler.query}
    blocks = [(f"self_attention_layers.{i}", block) for i, block in enumerate(pooler.blocks)]
    for place, block in [*blocks, ("cross_attention_layer", pooler.query_block)]:
        attention: Any = block.attention
        if isinstance(block, SelfAttentionBlock):
            name, joined = "self_attn", attention.query_key_value
            query, key, value = zip(joined.weight.chunk(3), joined.bias.chunk(3), strict=True)
            weights[f"{place}.self_attn.out_proj.weight"] = attention.output.weight
            weights[f"{place}.self_attn.out_proj.bias"] = attention.output.bias
        else:
            name, joined = "cross_attn", attention.key_value
            key, value = zip(joined.weight.chunk(2), joined.bias.chunk(2), strict=True)
            query = (attention.query.weight, attention.query.bias)
        for projection, (weight, bias) in (("q_proj", query), ("k_proj", key), ("v_proj", value)):
            weights[f"{place}.{name}.{projection}.weight"] = weight
            weights[f"{place}.{name}.{projection}.bias"] = bias
        for theirs, module in (
            ("layer_norm1", block.norm1),
            ("layer_norm2", block.norm2),
            ("mlp.fc1", block.mlp.hidden),
            ("mlp.fc2", block.mlp.output),
        ):
            weights[f"{place}.{theirs}.weight"] = module.weight
            weights[f"{place}.{theirs}.bias"] = module.bias
    return weights


@pytest.mark.parametrize("frames", [1, 37])
@torch.no_grad()
def test_states_equal_those_of_the_pooler_in_transformers(frames: int) -> None:
    from transformers import VJEPA2Config
    from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2AttentivePooler

    config = VJEPA2Config(
        hidden_size=WIDTH, num_attention_heads=HEADS, num_pooler_layers=BLOCKS - 1, mlp_ratio=4.0
    )
    config._attn_implementation = "sdpa"  # the other one rounds to float32
    pooler, theirs = make_pooler(), VJEPA2AttentivePooler(config).double().eval()
    theirs.load_state_dict(names_in_transformers(pooler))
    tokens = random_tokens(frames)
    assert_close(pooler(tokens, None, None), theirs(tokens))


def make_torch_layer(block: SelfAttentionBlock) -> nn.TransformerEncoderLayer:
    """Returns torch's pre-norm layer with the weights of ``block``."""
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", block.norm1.eps, batch_first=True, norm_first=True
    )
    pairs = {
        "self_attn.in_proj_": block.attention.query_key_value,
        "self_attn.out_proj.": block.attention.output,
        "norm1.": block.norm1,
        "norm2.": block.norm2,
        "linear1.": block.mlp.hidden,
        "linear2.": block.mlp.output,
    }
    for name, module in pairs.items():
        layer.get_parameter(f"{name}weight").data.copy_(module.weight)
        layer.get_parameter(f"{name}bias").data.copy_(module.bias)
    return layer.double()


def test_a_block_equals_torchs_pre_norm_layer_with_a_mask_and_its_gradients() -> None:
    torch.manual_seed(0)
    block = SelfAttentionBlock(WIDTH, ProbeConfig(num_heads=HEADS)).double()
    layer = make_torch_layer(block)
    mask = torch.arange(13) < torch.tensor([[13], [8]])
    ours, theirs = random_tokens(13).requires_grad_(), random_tokens(13).requires_grad_()
    outputs = block(ours, mask[:, None, None])[mask], layer(theirs, src_key_padding_mask=~mask)[mask]
    assert_close(*outputs)
    for output in outputs:
        output.square().sum().backward()
    assert_close(ours.grad, theirs.grad)
    assert_close(block.attention.query_key_value.weight.grad, layer.self_attn.in_proj_weight.grad)


def test_the_query_block_equals_torchs_multi_head_attention_without_its_output_layer() -> None:
    torch.manual_seed(0)
    block = CrossAttentionBlock(WIDTH, ProbeConfig(num_heads=HEADS)).double()
    attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).double()
    projections = (block.attention.query, block.attention.key_value)
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([linear.weight for linear in projections]))
        attention.in_proj_bias.copy_(torch.cat([linear.bias for linear in projections]))
        nn.init.eye_(attention.out_proj.weight)
        nn.init.zeros_(attention.out_proj.bias)
    mask = torch.arange(9) < torch.tensor([[9], [4]])
    query, tokens = torch.randn(1, 1, WIDTH, dtype=torch.float64), random_tokens(9)
    normed = block.norm1(tokens)
    state = query + attention(query.expand(2, -1, -1), normed, normed, key_padding_mask=~mask)[0]
    expected = state + block.mlp(block.norm2(state))
    assert_close(block(query, tokens, mask[:, None, None]), expected)


@pytest.mark.parametrize(("position", "num_tokens"), [("none", 1), ("sinusoidal", 1), ("sinusoidal", 4)])
@torch.no_grad()
def test_masked_frames_take_no_part_even_where_they_are_not_finite(position: str, num_tokens: int) -> None:
    pooler = make_pooler(feature_dim=7, position=position, num_tokens=num_tokens)
    features = random_tokens(11, 7) if num_tokens == 1 else random_tokens(11, num_tokens, 7)
    positions = torch.arange(11).expand(2, -1) * 3
    mask = torch.ones(2, 11, dtype=torch.bool)
    mask[1, [0, 4, 5, 10]] = False
    expected = pooler(features[1:, mask[1]], positions[1:, mask[1]], None)
    features[1, ~mask[1]] = float("nan")
    assert_close(pooler(features, positions, mask)[1:], expected)


@torch.no_grad()
def test_without_positions_the_order_of_frames_and_of_tokens_has_no_influence() -> None:
    pooler, tokens = make_pooler(num_tokens=3), random_tokens(6, 3, WIDTH)
    assert_close(pooler(tokens, None, None), pooler(tokens.flip(1, 2), None, None))


@torch.no_grad()
def test_with_positions_frames_and_tokens_have_places() -> None:
    """A frame's place is its position, wherever it stands in the sequence."""
    pooler, tokens = make_pooler(num_tokens=3, position="sinusoidal"), random_tokens(6, 3, WIDTH)
    expected = pooler(tokens, None, None)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert_close(pooler(tokens[:, order], order.expand(2, -1), None), expected)
    for changed in (tokens[:, order], tokens[:, :, [1, 0, 2]]):
        assert (pooler(changed, None, None) - expected).abs().max() > 1e-3


@torch.no_grad()
def test_positions_are_sines_and_cosines_that_are_exact_for_hours_of_video() -> None:
    pooler, tokens = make_pooler(position="sinusoidal"), torch.zeros(1, 2, WIDTH)
    embedded, mask = pooler.float().embed(tokens, torch.tensor([[7, 10_000_019]]), None)
    assert mask is None
    for row, position in zip(embedded[0], (7, 10_000_019), strict=True):
        for i in range(0, WIDTH, 2):
            angle = position / 10_000 ** (i / WIDTH)
            assert row[i : i + 2].tolist() == pytest.approx([math.sin(angle), math.cos(angle)], abs=1e-6)


def test_initial_weights_are_smaller_the_deeper_their_layer() -> None:
    """The layers that add to the residual stream are smaller the deeper they are."""
    torch.manual_seed(0)
    pooler = AttentivePooler(64, ProbeConfig(512, BLOCKS, 8), num_tokens=4)
    assert pooler.projection.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert pooler.query.std().item() == pytest.approx(0.02, rel=0.1)
    for number, block in enumerate(pooler.blocks, start=1):
        assert block.attention.query_key_value.weight.std().item() == pytest.approx(0.02, rel=0.05)
        for layer in (block.attention.output, block.mlp.output):
            assert layer.weight.std().item() == pytest.approx(0.02 / (2 * number) ** 0.5, rel=0.05)
    deepest = pooler.query_block.mlp.output.weight.std().item()
    assert deepest == pytest.approx(0.02 / (2 * BLOCKS) ** 0.5, rel=0.05)
    assert not any(weight.any() for name, weight in pooler.named_parameters() if name.endswith("bias"))


def test_sizes_that_do_not_fit_together() -> None:
    with pytest.raises(ModelError, match=r"probe\.num_heads = 5: must divide probe\.hidden_dim = 24"):
        make_pooler(num_heads=5)
    with pytest.raises(ModelError, match="must be even, since sinusoidal positions"):
        make_pooler(hidden_dim=15, num_heads=3, position="sinusoidal")
