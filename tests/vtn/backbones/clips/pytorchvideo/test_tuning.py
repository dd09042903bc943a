"""Frozen blocks, depths of layers and LoRA of pytorchvideo's clip encoders."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from tests.support.clips.pytorchvideo import MVIT, build_small, clips_for, small_pair
from vtn.arguments.backbone import BackboneConfig
from vtn.backbones.tuning.blocks import parameter_depths
from vtn.backbones.tuning.freezing import apply_tuning, autocast_modules


class TestTuning:
    """Frozen blocks, depths of layers and LoRA."""

    @pytest.mark.parametrize("name", ["slow_r50", "slowfast_r50", "x3d_xs", "mvit_base_16x4"])
    def test_every_parameter_learns(self, name: str) -> None:
        network = copy.deepcopy(small_pair(name)[1].network).train()
        clips = torch.randn(2, 3, network.frames, 32, 32)  # type: ignore[arg-type]
        network(clips).square().sum().backward()
        assert [n for n, p in network.named_parameters() if p.grad is None] == []

    @pytest.mark.parametrize(
        ("name", "blocks"), [("slow_r50", 16), ("csn_r101", 33), ("x3d_xs", 11), ("mvit_base_16x4", 3)]
    )
    def test_depths_count_the_blocks(self, name: str, blocks: int) -> None:
        network = small_pair(name)[1].network
        depths = parameter_depths(network)
        assert list(depths) == [n for n, _ in network.named_parameters()]
        assert list(depths.values()) == sorted(depths.values())
        assert set(depths.values()) == set(range(blocks + 1))

    def test_both_pathways_of_slowfast_have_the_same_depths(self) -> None:
        network = small_pair("slowfast_r50")[1].network
        depths = parameter_depths(network)
        assert depths.keys() == {n for n, _ in network.named_parameters()}
        for name, depth in (
            ("blocks.0.multipathway_blocks.1.conv.weight", 0),
            ("blocks.0.multipathway_fusion.conv_fast_to_slow.weight", 0),
            ("blocks.1.multipathway_blocks.0.res_blocks.2.branch2.conv_a.weight", 3),
            ("blocks.1.multipathway_blocks.1.res_blocks.2.branch2.conv_a.weight", 3),
            ("blocks.1.multipathway_fusion.conv_fast_to_slow.weight", 3),
            ("blocks.4.multipathway_blocks.1.res_blocks.2.branch2.conv_c.weight", 16),
        ):
            assert depths[name] == depth

    @pytest.mark.parametrize("name", ["slow_r50", "slowfast_r50", "mvit_base_16x4"])
    def test_frozen_blocks_keep_their_weights_and_compute_in_bfloat16(self, name: str) -> None:
        """The trained blocks behind them get float32 inputs, also where blocks pass lists of tensors on."""
        network = copy.deepcopy(small_pair(name)[1].network).train()
        clips = torch.randn(1, 3, network.frames, 32, 32)  # type: ignore[arg-type]
        kept = apply_tuning(network, BackboneConfig(name="", frozen_blocks=2))
        frozen = {n for n, p in network.named_parameters() if not p.requires_grad}
        assert frozen == {n for n, depth in parameter_depths(network).items() if depth <= 2}
        for module in kept:
            network.get_submodule(module).eval()
        plain = network(clips)
        autocast_modules(network, kept, torch.bfloat16)
        half = network(clips)
        assert half.dtype == torch.float32
        assert not torch.equal(half, plain)
        half.sum().backward()
        assert {n for n, p in network.named_parameters() if p.grad is None} == frozen

    def test_all_blocks_of_a_list_are_frozen_one_by_one(self) -> None:
        """A list of modules is not called, so it could not switch to bfloat16."""
        network = copy.deepcopy(small_pair("mvit_base_16x4")[1].network)
        kept = apply_tuning(network, BackboneConfig(name="", frozen_blocks=3))
        assert {"blocks.0", "blocks.1", "blocks.2"} <= set(kept)

    @pytest.mark.parametrize(
        ("name", "targets"),
        [("mvit_base_16x4", []), ("slow_r50", ["conv_c"])],
        ids=["linear", "convolutions"],
    )
    def test_lora_does_not_change_new_features_and_learns(self, name: str, targets: list[str]) -> None:
        pytest.importorskip("peft", reason="peft is not installed; it is in the extra 'lora'")
        _, built = small_pair(name)
        clips, network = clips_for(built, size=32), copy.deepcopy(built.network)
        with torch.no_grad():
            expected = network(clips)
        apply_tuning(network, BackboneConfig(name="", lora={"rank": 2, "targets": targets}))
        features = network.eval()(clips)
        torch.testing.assert_close(features, expected)
        features.square().sum().backward()
        learning = {n for n, p in network.named_parameters() if p.grad is not None}
        assert learning
        assert all("lora_" in n for n in learning)

    def test_tokens_and_position_tables_of_mvit_have_no_weight_decay(self) -> None:
        network: Any = build_small("mvit_base_16x4", **MVIT).network
        tables = {"cls_token", "pos_embed_spatial", "pos_embed_temporal", "pos_embed_class"}
        assert network.no_weight_decay() == {f"cls_positional_encoding.{table}" for table in tables}
        assert network.no_weight_decay() <= {n for n, _ in network.named_parameters()}
