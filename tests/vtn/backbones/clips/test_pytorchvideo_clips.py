"""pytorchvideo's networks without their heads as clip encoders, compared with the whole networks.

N clips, t frames, s time steps, h w height and width of a map, F width of a feature.
"""

from __future__ import annotations

import copy
import logging
import math
import urllib.error
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from pytorchvideo.models import hub
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from slowfast.errors import CheckpointError, InputError, ModelError
from slowfast.models.pytorchvideo.resnets import pathways
from vtn.arguments.backbone import BackboneConfig
from vtn.backbones.base import Backbone
from vtn.backbones.build import build_backbone
from vtn.backbones.clips.pytorchvideo_clips import RECIPES
from vtn.backbones.tuning.apply import apply_tuning
from vtn.backbones.tuning.depth import parameter_depths
from vtn.backbones.tuning.freezing import autocast_modules

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
    """The network with its head, with other weights than new ones, which make some of its parts idle."""
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


def build(name: str, **options: Any) -> Backbone:
    torch.manual_seed(1)
    built = build_backbone(f"pytorchvideo:{name}", pretrained=False, options=options)
    built.network.eval()
    return built


def encoder_of(whole: nn.Module, name: str, **options: Any) -> Backbone:
    """The clip encoder with the weights of a whole network."""
    built = build(name, **options)
    lacking, unexpected = built.network.load_state_dict(whole.state_dict(), strict=False)
    assert lacking == []
    assert all(entry.startswith(built.classifier) for entry in unexpected)
    return built


@cache
def small(name: str) -> tuple[nn.Module, Backbone]:
    """The whole network of a family and its clip encoder, which tests do not change."""
    whole = whole_network(name, **SMALL[name])
    return whole, encoder_of(whole, name, **SMALL[name])


def clips_for(built: Backbone, size: int | None = None, count: int = 1) -> Tensor:
    assert built.clip is not None
    size = size or built.image_size
    generator = torch.Generator().manual_seed(2)
    return torch.randn(count, 3, built.clip.frames, size, size, generator=generator)  # type: ignore[arg-type]


def classify(whole: nn.Module, pooled: Tensor) -> Tensor:
    """Applies all of a network's head behind its pooling to features (N, F)."""
    if hasattr(whole, "head"):
        return whole.head.proj(pooled)
    head = copy.deepcopy(whole.blocks[-1])
    pooled = pooled[:, :, None, None, None]
    if hasattr(head.pool, "post_conv"):
        pooled = head.pool.post_act(head.pool.post_conv(pooled))
    head.pool = None
    return head(pooled)


def places_of(built: Backbone, clips: Tensor, stage: int = 0) -> Tensor:
    assert built.feature_map is not None
    found = built.feature_map(built.network, clips, stage)
    assert found.class_token is None
    return found.places


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_the_mean_of_the_map_gives_the_scores_of_the_whole_network(name: str) -> None:
    """The crops have the published size, for which the whole networks pool over the entire map."""
    whole, built = small(name)
    clips = clips_for(built)
    places = places_of(built, clips)
    inputs = pathways(clips, 4) if name == "slowfast_r50" else clips
    expected = whole(inputs)
    assert expected.std() > 0.01
    torch.testing.assert_close(classify(whole, places.mean((1, 2, 3))), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(built.network(clips), places.mean((2, 3)))


@torch.no_grad()
def test_the_features_of_mvit_are_its_tokens_without_the_class_token() -> None:
    whole = whole_network("mvit_base_16x4", **MVIT)
    built = encoder_of(whole, "mvit_base_16x4", **MVIT)
    clips = clips_for(built, count=2)
    whole.head = nn.Identity()
    places = places_of(built, clips)
    assert places.shape == (2, 4, 4, 4, 16)
    torch.testing.assert_close(places.flatten(1, 3), whole(clips)[:, 1:], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_fast_pathway_is_averaged_to_the_steps_of_the_slow_one() -> None:
    options = SMALL["slowfast_r50"]
    whole = whole_network("slowfast_r50", **options)
    built = encoder_of(whole, "slowfast_r50", num_frames=16, **options)
    clips = clips_for(built, size=64)
    x = pathways(clips, 4)
    for block in whole.blocks[:5]:
        x = block(x)
    slow, fast = x
    places = places_of(built, clips).permute(0, 4, 1, 2, 3)
    assert places.shape == (1, 576, 4, 2, 2)
    torch.testing.assert_close(places[:, :512], slow)
    for step in range(4):
        torch.testing.assert_close(places[:, 512:, step], fast[:, :, 4 * step : 4 * step + 4].mean(2))


class Published(NamedTuple):
    """The facts about a network that its authors publish, or that follow from its name.

    Parameters (10⁶, head included) are those of pytorchvideo's model zoo, and for MViT of Fan et al. 2021.
    Multiply-adds (10⁹ per clip) are those of the same sources, and for X3D of PySlowFast's model zoo. Other
    entries of pytorchvideo's are 1 to 9 % above a count of convolutions and matrix products.
    """

    parameters: float
    head: int
    frames: int
    tubelet: int
    rate: float
    size: int
    width: int
    gmacs: float | None = None


X3D_HEAD = 432 * 2048 + 2048 * 400 + 400
PUBLISHED = {
    "c2d_r50": Published(24.33, 819_600, 8, 2, 3.75, 224, 2048),
    "i3d_r50": Published(28.04, 819_600, 8, 2, 3.75, 224, 2048),
    "slow_r50": Published(32.45, 819_600, 8, 1, 3.75, 256, 2048, 54.52),
    "slowfast_r50": Published(34.57, 922_000, 32, 4, 15.0, 256, 2304, 65.71),
    "slowfast_r101": Published(62.83, 922_000, 32, 4, 15.0, 224, 2304),
    "slowfast_16x8_r101_50_50": Published(53.77, 922_000, 64, 4, 15.0, 224, 2304),
    "csn_r101": Published(22.21, 819_600, 32, 8, 15.0, 224, 2048),
    "r2plus1d_r50": Published(28.11, 819_600, 16, 4, 7.5, 224, 2048),
    "x3d_xs": Published(3.79, X3D_HEAD, 4, 1, 2.5, 160, 432, 0.60),
    "x3d_s": Published(3.79, X3D_HEAD, 13, 1, 5.0, 160, 432, 1.96),
    "x3d_m": Published(3.79, X3D_HEAD, 16, 1, 6.0, 224, 432, 4.73),
    "x3d_l": Published(6.15, X3D_HEAD, 16, 1, 6.0, 312, 432, 18.37),
    "mvit_base_16x4": Published(36.6, 307_600, 16, 2, 7.5, 224, 768, 70.5),
    "mvit_base_32x3": Published(36.6, 307_600, 32, 2, 10.0, 224, 768, 170),
}


@pytest.mark.parametrize("name", PUBLISHED)
@torch.no_grad()
def test_published_configurations(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytorchvideo.models.vision_transformers.init_net_weights", lambda *_, **__: None)
    facts = PUBLISHED[name]
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        built = build(name)
        before = counter.get_total_flops()
        shape = places_of(built, torch.zeros(1, 3, facts.frames, facts.size, facts.size)).shape
    own = sum(parameter.numel() for parameter in built.network.parameters())
    assert (own + facts.head) / 1e6 == pytest.approx(facts.parameters, abs=0.02)
    if facts.gmacs is not None:
        assert (counter.get_total_flops() - before) / 2e9 == pytest.approx(facts.gmacs, rel=0.01)
    side = math.ceil(facts.size / 32)
    assert shape == (1, facts.frames // facts.tubelet, side, side, facts.width)
    assert built.clip is not None
    assert (built.clip.frames, built.clip.tubelet) == (facts.frames, facts.tubelet)
    assert (built.clip.frame_rate, built.feature_dim) == (facts.rate, facts.width)
    assert (built.mean, built.std) == ((0.45,) * 3, (0.225,) * 3)
    assert built.fixed_size == name.startswith("mvit")


def test_each_recipe_is_tested() -> None:
    assert list(PUBLISHED) == list(RECIPES)


class TestClips:
    """Clips of other lengths, and the influence of frames on time steps."""

    @pytest.mark.parametrize("name", SMALL)
    @torch.no_grad()
    def test_the_description_states_whether_steps_see_each_other(self, name: str) -> None:
        _, built = small(name)
        clips = clips_for(built, size=32)
        changed = clips.clone()
        changed[:, :, -1] += 1
        difference = (built.network(changed) - built.network(clips)).abs().amax((0, 2))
        assert built.clip is not None
        assert difference[-1] > 1e-4
        assert built.clip.causal == built.clip.accepts_shorter == (difference[:-1].max() == 0)
        assert built.clip.causal == (name == "c2d_r50")

    @torch.no_grad()
    def test_the_steps_of_a_shorter_clip_are_those_of_the_full_clip(self) -> None:
        _, built = small("c2d_r50")
        clips = clips_for(built, size=32)
        torch.testing.assert_close(built.network(clips[:, :, :6]), built.network(clips)[:, :3])

    @pytest.mark.parametrize(
        ("name", "frames"), [("slow_r50", 7), ("c2d_r50", 7), ("c2d_r50", 10), ("mvit_base_16x4", 6)]
    )
    def test_clips_of_another_length_are_refused(self, name: str, frames: int) -> None:
        with pytest.raises(InputError, match=r"must have the shape \(clips, 3, 8, height, width\)"):
            small(name)[1].network(torch.zeros(1, 3, frames, 32, 32))

    @pytest.mark.parametrize(("name", "frames"), [("csn_r101", 16), ("slowfast_r50", 8), ("slow_r50", 5)])
    @torch.no_grad()
    def test_convolutional_networks_are_built_for_any_number_of_tubelets(
        self, name: str, frames: int
    ) -> None:
        built = build(name, num_frames=frames, **SMALL[name])
        assert built.clip is not None
        assert built.clip.frames == frames
        steps = frames // built.clip.tubelet
        assert built.network(clips_for(built, size=40)).shape == (1, steps, built.feature_dim)


class TestStages:
    """Maps of earlier stages and blocks."""

    @pytest.mark.parametrize("name", SMALL)
    @torch.no_grad()
    def test_later_blocks_are_not_computed(self, name: str) -> None:
        _, built = small(name)
        clips = clips_for(built, size=32)
        steps = built.network(clips).shape[1]
        network: Any = built.network
        first = 0 if name.startswith("mvit") else 1
        computed: list[nn.Module] = []
        handles = [
            block.register_forward_pre_hook(lambda module, _: computed.append(module))
            for block in network.blocks
        ]
        places = places_of(built, clips, stage=1)
        for handle in handles:
            handle.remove()
        assert computed == list(network.blocks[: first + 1])
        assert places.shape[:2] == (1, steps)
        assert places.shape[2] > 1

    @torch.no_grad()
    def test_a_finer_map_in_time_is_averaged_to_the_steps_of_the_last_map(self) -> None:
        whole, built = small("i3d_r50")
        clips = clips_for(built, size=32)
        found = whole.blocks[1](whole.blocks[0](clips)).permute(0, 2, 3, 4, 1)  # eight time steps
        torch.testing.assert_close(places_of(built, clips, stage=1), (found[:, ::2] + found[:, 1::2]) / 2)

    @torch.no_grad()
    def test_a_stage_of_slowfast_has_the_channels_of_both_pathways(self) -> None:
        whole, built = small("slowfast_r50")
        clips = clips_for(built, size=32)
        slow, fast = whole.blocks[0](pathways(clips, 4))
        first = whole.blocks[1].multipathway_blocks
        slow, fast = first[0](slow), first[1](fast)
        expected = torch.cat([slow, fast.unflatten(2, (8, 4)).mean(3)], dim=1).permute(0, 2, 3, 4, 1)
        torch.testing.assert_close(places_of(built, clips, stage=1), expected)

    @torch.no_grad()
    def test_the_final_norm_of_mvit_is_applied_where_it_fits(self) -> None:
        whole = whole_network("mvit_base_16x4", **MVIT)
        built = encoder_of(whole, "mvit_base_16x4", **MVIT)
        clips, shape = clips_for(built), [4, 8, 8]
        tokens = whole.cls_positional_encoding(whole.patch_embed(clips))
        maps = []
        for block in whole.blocks:
            tokens, shape = block(tokens, shape)
            maps.append(tokens[:, 1:] if tokens.shape[-1] == 8 else whole.norm_embed(tokens)[:, 1:])
        for stage, expected in enumerate(maps, start=1):
            torch.testing.assert_close(places_of(built, clips, stage).flatten(1, 3), expected)
        torch.testing.assert_close(places_of(built, clips, 3), places_of(built, clips, 0))

    def test_a_stage_that_does_not_exist_is_refused(self) -> None:
        _, built = small("slow_r50")
        with pytest.raises(ModelError, match=r"STAGE = 5: must be 0 \(the last map\) or 1 to 4"):
            places_of(built, clips_for(built, size=32), stage=5)


class TestTuning:
    """Frozen blocks, depths of layers and LoRA."""

    @pytest.mark.parametrize("name", ["slow_r50", "slowfast_r50", "x3d_xs", "mvit_base_16x4"])
    def test_every_parameter_learns(self, name: str) -> None:
        network = copy.deepcopy(small(name)[1].network).train()
        clips = torch.randn(2, 3, network.frames, 32, 32)  # type: ignore[arg-type]
        network(clips).square().sum().backward()
        assert [n for n, p in network.named_parameters() if p.grad is None] == []

    @pytest.mark.parametrize(
        ("name", "blocks"), [("slow_r50", 16), ("csn_r101", 33), ("x3d_xs", 11), ("mvit_base_16x4", 3)]
    )
    def test_depths_count_the_blocks(self, name: str, blocks: int) -> None:
        network = small(name)[1].network
        depths = parameter_depths(network)
        assert list(depths) == [n for n, _ in network.named_parameters()]
        assert list(depths.values()) == sorted(depths.values())
        assert set(depths.values()) == set(range(blocks + 1))

    def test_both_pathways_of_slowfast_have_the_same_depths(self) -> None:
        network = small("slowfast_r50")[1].network
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
        network = copy.deepcopy(small(name)[1].network).train()
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
        network = copy.deepcopy(small("mvit_base_16x4")[1].network)
        kept = apply_tuning(network, BackboneConfig(name="", frozen_blocks=3))
        assert {"blocks.0", "blocks.1", "blocks.2"} <= set(kept)

    @pytest.mark.parametrize(
        ("name", "targets"),
        [("mvit_base_16x4", []), ("slow_r50", ["conv_c"])],
        ids=["linear", "convolutions"],
    )
    def test_lora_does_not_change_new_features_and_learns(self, name: str, targets: list[str]) -> None:
        pytest.importorskip("peft", reason="peft is not installed; it is in the extra 'lora'")
        _, built = small(name)
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
        network: Any = build("mvit_base_16x4", **MVIT).network
        tables = {"cls_token", "pos_embed_spatial", "pos_embed_temporal", "pos_embed_class"}
        assert network.no_weight_decay() == {f"cls_positional_encoding.{table}" for table in tables}
        assert network.no_weight_decay() <= {n for n, _ in network.named_parameters()}


class TestWeights:
    """Weights of whole networks, as pytorchvideo publishes them."""

    @pytest.mark.parametrize("name", ["slow_r50", "x3d_xs", "mvit_base_16x4"])
    @torch.no_grad()
    def test_a_file_of_the_whole_network_is_loaded_without_the_head(
        self, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        whole, built = small(name)
        path = tmp_path / "WHOLE.pyth"
        torch.save({"model_state": whole.state_dict(), "epoch": 3, "cfg": "TRAIN:\n"}, path)
        with caplog.at_level(logging.INFO):
            loaded = build_backbone(
                f"pytorchvideo:{name}", pretrained=True, options=SMALL[name], checkpoint=path
            )
        clips = clips_for(loaded, size=32)
        torch.testing.assert_close(loaded.network.eval()(clips), built.network(clips))
        assert "head, not loaded" in caplog.text
        assert "proj.weight" in caplog.text

    def test_the_weights_of_another_network_are_refused(self, tmp_path: Path) -> None:
        torch.save({"model_state": small("c2d_r50")[0].state_dict()}, tmp_path / "C2D.pyth")
        with pytest.raises(CheckpointError, match="does not fit the backbone ConvolutionalEncoder"):
            build_backbone(
                "pytorchvideo:slow_r50",
                pretrained=True,
                options={"stem_dim_out": 4},
                checkpoint=tmp_path / "C2D.pyth",
            )

    @pytest.fixture
    def hub_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        return tmp_path / "hub" / "checkpoints"

    @torch.no_grad()
    def test_the_published_file_is_downloaded_once(
        self, hub_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (whole, _), urls = small("slow_r50"), []

        def download(url: str, path: str) -> None:
            urls.append(url)
            torch.save({"model_state": whole.state_dict()}, path)

        monkeypatch.setattr("torch.hub.download_url_to_file", download)
        for _ in range(2):
            built = build_backbone("pytorchvideo:slow_r50", pretrained=True, options={"stem_dim_out": 4})
        assert urls == ["https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/SLOW_8x8_R50.pyth"]
        assert [path.name for path in hub_folder.iterdir()] == ["SLOW_8x8_R50.pyth"]
        torch.testing.assert_close(
            built.network.state_dict()["blocks.0.conv.weight"], whole.blocks[0].conv.weight
        )

    def test_without_a_network_the_error_names_the_file_and_its_folder(
        self, hub_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def offline(*_: object) -> None:
            raise urllib.error.URLError("no route")

        monkeypatch.setattr("torch.hub.download_url_to_file", offline)
        monkeypatch.setattr("vtn.backbones.published.time.sleep", lambda _: None)
        with pytest.raises(ModelError) as caught:
            build_backbone("pytorchvideo:x3d_xs", pretrained=True, options={})
        for part in ("model_zoo/kinetics/X3D_XS.pyth", str(hub_folder), "VTN.BACKBONE.CHECKPOINT"):
            assert part in str(caught.value)

    def test_published_weights_for_a_changed_network_are_refused(self, hub_folder: Path) -> None:
        hub_folder.mkdir(parents=True)
        torch.save({"model_state": small("slow_r50")[0].state_dict()}, hub_folder / "SLOW_8x8_R50.pyth")
        with pytest.raises(
            ModelError, match=r"ARGS \{'stem_dim_out': 8\} changes it.*(.|\n)*of another shape"
        ):
            build_backbone("pytorchvideo:slow_r50", pretrained=True, options={"stem_dim_out": 8})

    def test_a_published_file_that_could_run_code_is_not_read(self, hub_folder: Path) -> None:
        hub_folder.mkdir(parents=True)
        torch.save({"model_state": {"path": Path("x")}}, hub_folder / "SLOW_8x8_R50.pyth")
        with pytest.raises(ModelError, match="never loaded because it can run code"):
            build_backbone("pytorchvideo:slow_r50", pretrained=True, options={})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("slow_r51", {}, "must be a clip network of pytorchvideo; did you mean slow_r50"),
        ("mvit_base_16", {}, "did you mean mvit_base_16x4"),
        ("slow_r50", {"depth": 50}, "unknown keys depth; without its head the network has .*stem_dim_out"),
        ("slow_r50", {"head_activation": None}, "unknown keys head_activation"),
        ("slow_r50", {"dropout_rate": 0.1}, "unknown keys dropout_rate"),
        ("mvit_base_16x4", {"num_frames": 8}, "unknown keys num_frames.*temporal_size"),
        ("slow_r50", {"model_depth": 101}, "model_depth = 101: must not be set, .*slow_r50 determines it"),
        ("slow_r50", {"num_frames": 2.5}, "num_frames = 2.5: must be an integer"),
        ("csn_r101", {"num_frames": 28}, "num_frames = 28: must be a multiple of the frames per time step"),
        ("slowfast_r50", {"num_frames": 30}, "must encode clips of 30 frames"),
        ("slow_r50", {"stem_dim_out": "wide"}, "with {'stem_dim_out': 'wide'}: TypeError"),
    ],
)  # fmt: skip
def test_names_and_arguments_that_do_not_exist_are_refused(
    name: str, options: dict[str, Any], message: str
) -> None:
    with torch.device("meta"), pytest.raises(ModelError, match=message):
        build_backbone(f"pytorchvideo:{name}", pretrained=False, options=options)


def test_poolings_are_refused() -> None:
    with pytest.raises(ModelError, match=r"POOLING = 'mean': must be '' for pytorchvideo"):
        build_backbone("pytorchvideo:slow_r50", pretrained=False, options={}, pooling="mean")


def test_frames_of_another_size_are_refused_for_mvit_only() -> None:
    assert "VTN.BACKBONE.ARGS.spatial_size" in build("mvit_base_16x4", **MVIT).size_problem(64, 64)
    assert small("slow_r50")[1].size_problem(200, 300) == ""
