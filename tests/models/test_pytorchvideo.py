"""pytorchvideo's networks fulfil the framework's model contract and have their published sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from slowfast.checkpoint.weights import load_model_weights
from slowfast.config import load_config
from slowfast.errors import ConfigError, InputError
from slowfast.models import build_model
from slowfast.models.pytorchvideo.clip_network import ClipNetwork
from slowfast.models.pytorchvideo.networks import PTVX3D, PTVMViT
from slowfast.models.pytorchvideo.resnets import PTVResNet, PTVSlowFast, pathways, stage_kernels

FRAMES, SIZE, CLASSES = 8, 32, 3
CLIP = {"num_classes": CLASSES, "num_frames": FRAMES, "crop_size": SIZE}
SMALL_MVIT: dict[str, Any] = {
    "depth": 3, "patch_embed_dim": 8, "embed_dim_mul": [[1, 2]], "atten_head_mul": [[1, 2]],
    "pool_q_stride_size": [[1, 1, 2, 2]], "pool_kv_stride_adaptive": [1, 2, 2], "pool_kvq_kernel": [3, 3, 3],
}  # fmt: skip

BUILDERS = {
    "c2d": lambda: PTVResNet("c2d", width=8, **CLIP),
    "i3d": lambda: PTVResNet("i3d", width=8, **CLIP),
    "slow": lambda: PTVResNet("slow", width=8, **CLIP),
    "slowfast": lambda: PTVSlowFast(width=16, **CLIP),
    "x3d": lambda: PTVX3D(width_factor=1.0, depth_factor=1.0, head_dim_out=32, **CLIP),
    "mvit": lambda: PTVMViT(**CLIP, **SMALL_MVIT),
}


@pytest.fixture(scope="module")
def networks() -> dict[str, ClipNetwork]:
    torch.manual_seed(0)
    return {name: build().eval() for name, build in BUILDERS.items()}


@pytest.mark.parametrize("name", BUILDERS)
@torch.no_grad()
def test_padding_has_no_influence(name: str, networks: dict[str, ClipNetwork]) -> None:
    """A masked frame counts as a repetition of the last real frame, whatever its content."""
    network = networks[name]
    clip = torch.randn(2, 3, FRAMES, SIZE, SIZE)
    mask = torch.arange(FRAMES) < torch.tensor([[FRAMES], [5]])
    garbage = torch.where(mask[:, None, :, None, None], clip, float("nan"))
    repeated = clip.clone()
    repeated[1, :, 5:] = clip[1, :, 4:5]
    logits = network(garbage, torch.arange(FRAMES).expand(2, -1), mask)
    assert logits.shape == (2, CLASSES)
    torch.testing.assert_close(logits, network(repeated))
    torch.testing.assert_close(logits[1:], network(clip[1:, :, :5]))


@pytest.mark.parametrize("name", BUILDERS)
@torch.no_grad()
def test_whole_pictures_pass_networks_that_say_so(name: str, networks: dict[str, ClipNetwork]) -> None:
    """All of a wide frame counts, its last square included; other networks do not accept it."""
    network = networks[name]
    wide = torch.randn(1, 3, FRAMES, SIZE, 3 * SIZE)
    if network.frame_multiple is None:
        with pytest.raises((RuntimeError, AssertionError)):
            network(wide)
        return
    assert network.frame_multiple == 1
    logits = network(wide)
    assert logits.shape == network(wide.transpose(-1, -2)).shape == (1, CLASSES)
    changed = wide.clone()
    changed[..., -SIZE:] = 0
    assert (network(changed) - logits).abs().max() > 1e-6


@pytest.mark.parametrize("name", BUILDERS)
def test_all_parameters_get_gradients_and_have_a_depth(name: str) -> None:
    network = BUILDERS[name]().train()
    network(torch.randn(2, 3, FRAMES, SIZE, SIZE)).square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []
    depths = {n: network.layer_id(n) for n, _ in network.named_parameters()}
    total = next(iter(depths.values()))[1]
    assert all(0 <= depth < count == total for depth, count in depths.values())
    assert network.no_weight_decay() <= depths.keys()


def test_tokens_and_position_tables_of_mvit_have_no_weight_decay(networks: dict[str, ClipNetwork]) -> None:
    names = {name.rpartition(".")[2] for name in networks["mvit"].no_weight_decay()}
    assert names == {"cls_token", "pos_embed_spatial", "pos_embed_temporal", "pos_embed_class"}


def test_clips_of_another_length_are_refused(networks: dict[str, ClipNetwork]) -> None:
    with pytest.raises(InputError, match=r"must have .*\(clips, 3, 8, height, width\).*DATA\.NUM_FRAMES"):
        networks["slow"](torch.zeros(1, 3, 16, SIZE, SIZE))


@torch.no_grad()
def test_weights_have_pytorchvideo_s_names(tmp_path: Path) -> None:
    from pytorchvideo.models.hub import slow_r50

    theirs = slow_r50(model_num_class=CLASSES, stem_dim_out=8).eval()
    torch.save({"model_state": theirs.state_dict()}, tmp_path / "SLOW_8x8_R50.pyth")
    ours = PTVResNet("slow", CLASSES, num_frames=8, crop_size=224, width=8).eval()
    load_model_weights(ours, tmp_path / "SLOW_8x8_R50.pyth")
    clip = torch.randn(1, 3, 8, 224, 224)
    torch.testing.assert_close(ours(clip), theirs(clip))


def test_the_slow_pathway_gets_the_first_the_last_and_evenly_spaced_frames() -> None:
    frames = torch.arange(32.0)[None, None, :, None, None].expand(1, 3, 32, 2, 2)
    slow, fast = pathways(frames, 4)
    assert slow[0, 0, :, 0, 0].tolist() == [0, 4, 8, 13, 17, 22, 26, 31]
    assert fast is frames


def test_kernels_after_the_temporal_blocks_have_one_frame() -> None:
    assert stage_kernels((3, 1), depth=4, temporal=3) == [(3, 1, 1), (1, 1, 1), (3, 1, 1), (1, 1, 1)]
    assert stage_kernels((3,), depth=3, temporal=1) == [(3, 1, 1), (1, 1, 1), (1, 1, 1)]


@torch.no_grad()
def test_new_non_local_blocks_are_identities() -> None:
    clip = torch.randn(1, 3, FRAMES, SIZE, SIZE)
    torch.manual_seed(0)
    plain = PTVSlowFast(width=16, **CLIP).eval()
    network = PTVSlowFast(width=16, nonlocal_after=((), (), (1, 3), ()), **CLIP).eval()
    stage = "blocks.3.multipathway_blocks.0.res_blocks."
    added = {name for name in network.state_dict() if name.startswith((f"{stage}2.", f"{stage}5."))}
    kept = [value for name, value in network.state_dict().items() if name not in added]
    for mine, value in zip(kept, plain.state_dict().values(), strict=True):
        mine.copy_(value)
    assert {name.split(".")[6] for name in added} == {"conv_theta", "conv_phi", "conv_g", "conv_out", "norm"}
    torch.testing.assert_close(network(clip), plain(clip))


@pytest.mark.parametrize(
    ("name", "millions", "gmacs"),
    [
        # The first four: pytorchvideo's model zoo; X3D and MViT: table 4 of their papers.
        ("C2D_8x8_R50", 24.33, 25.89),
        ("I3D_8x8_R50", 28.04, 37.53),
        ("SLOW_8x8_R50", 32.45, 54.52),
        ("SLOWFAST_8x8_R50", 34.57, 65.71),
        ("X3D_M", 3.8, 6.2),
        ("MVIT_B_16x4", 36.6, 70.5),
    ],
)
@torch.no_grad()
def test_a_shipped_configuration_has_the_published_size(name: str, millions: float, gmacs: float) -> None:
    cfg = load_config(name)
    network = build_model(cfg).to("meta").eval()
    size = cfg.DATA.TEST_CROP_SIZE
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, cfg.DATA.NUM_FRAMES, size, size, device="meta"))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=0.02)


def test_slowfast_with_non_local_blocks_has_the_size_in_its_paper() -> None:
    """SlowFast 16×8, R101 with non-local blocks: 59.9 million parameters (table 4 of the SlowFast paper)."""
    with torch.device("meta"):
        network = build_model(load_config("SLOWFAST_NLN_16x8_R101"))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(59.9, rel=0.01)


@pytest.mark.parametrize(
    ("name", "override", "problem"),
    [
        ("X3D_M", ["TRAIN.EVAL_FULL_VIDEO", "True"], "takes clips of DATA.NUM_FRAMES = 16"),
        ("SLOWFAST_8x8_R50", ["DATA.NUM_FRAMES", "30"], "must be a multiple of SLOWFAST.ALPHA = 4"),
        ("SLOWFAST_8x8_R50", ["SLOWFAST.BETA_INV", "7"], "must divide RESNET.WIDTH_PER_GROUP"),
        ("MVIT_B_16x4", ["DATA.TEST_CROP_SIZE", "256"], "has a learned position for each patch"),
        ("I3D_8x8_R50", ["DATA.TEST_CROP_SIZE", "192"], "must be DATA.TRAIN_CROP_SIZE = 224 or more"),
        ("X3D_M", ["DATA.TRAIN_CROP_SIZE", "0"], "must be 32 or more, .* has no default size"),
        ("I3D_8x8_R50", ["MODEL.ARCH", "r2plus1d"], "must be one of c2d, i3d, slow"),
        ("I3D_8x8_R50", ["RESNET.DEPTH", "34"], "must be one of 50, 101, 152"),
        ("I3D_8x8_R50", ["NONLOCAL.LOCATION", "[[[]]]"], "must have four entries, one per stage"),
        ("I3D_8x8_R50", ["NONLOCAL.INSTANTIATION", "gaussian"], "must be one of softmax, dot_product"),
    ],
)
def test_a_wrong_configuration_is_refused(name: str, override: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_config(name, override)


def test_pyslowfast_s_files_of_the_same_networks_run(tmp_path: Path) -> None:
    """The names of PySlowFast's own implementations choose the same networks."""
    file = tmp_path / "SLOWFAST_4x16_R50.yaml"
    file.write_text(
        "MODEL: {MODEL_NAME: SlowFast, ARCH: slowfast, NUM_CLASSES: 400}\n"
        "DATA: {NUM_FRAMES: 32, INPUT_CHANNEL_NUM: [3, 3]}\n"
        "SLOWFAST: {ALPHA: 8, BETA_INV: 8, FUSION_CONV_CHANNEL_RATIO: 2, FUSION_KERNEL_SZ: 5}\n"
        "RESNET: {ZERO_INIT_FINAL_BN: True, WIDTH_PER_GROUP: 64, NUM_GROUPS: 1, DEPTH: 50,\n"
        "  TRANS_FUNC: bottleneck_transform, STRIDE_1X1: False,\n"
        "  NUM_BLOCK_TEMP_KERNEL: [[3, 3], [4, 4], [6, 6], [3, 3]],\n"
        "  SPATIAL_STRIDES: [[1, 1], [2, 2], [2, 2], [2, 2]]}\n"
        "NONLOCAL: {LOCATION: [[[], []], [[], []], [[], []], [[], []]],\n"
        "  GROUP: [[1, 1], [1, 1], [1, 1], [1, 1]], INSTANTIATION: dot_product}\n"
        "BN: {USE_PRECISE_STATS: True, NUM_BATCHES_PRECISE: 200}\n"
    )
    with torch.device("meta"):
        network = build_model(load_config(file))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(34.4, rel=0.01)
