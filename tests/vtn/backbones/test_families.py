"""Image models of many families as backbones: built, run forward and backward, saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from slowfast.errors import InputError, ModelError
from vtn import FrameAverage
from vtn.backbones.build import build_backbone

# Real architectures with arguments that make them small: few blocks, few channels.
SMALL_VIT: dict[str, Any] = {"img_size": 32, "embed_dim": 48, "depth": 2, "num_heads": 2}
SMALL_STAGES: dict[str, Any] = {"img_size": 64, "embed_dim": (32, 32, 32, 64), "depths": (1, 1, 1, 1)}
TIMM: dict[str, tuple[str, int, dict[str, Any]]] = {
    "ResNet": ("resnet10t", 32, {"layers": (1, 1, 1, 1), "channels": (8, 16, 16, 24)}),
    "DeiT": ("deit_tiny_patch16_224", 32, SMALL_VIT),
    "DeiT distilled": ("deit_tiny_distilled_patch16_224", 32, SMALL_VIT),
    "ViT": ("vit_tiny_patch16_224", 32, SMALL_VIT),
    "Swin": (
        "swin_tiny_patch4_window7_224", 32,
        {"img_size": 32, "embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2), "window_size": 4},
    ),
    "SwinV2": (
        "swinv2_tiny_window8_256", 32,
        {"img_size": 32, "embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2), "window_size": 4},
    ),
    "ConvNeXt": ("convnext_atto", 32, {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16)}),
    "EfficientNet": ("tf_efficientnet_lite0", 32, {}),
    "RegNet": ("regnetx_002", 32, {}),
    "MobileNet": ("mobilenetv3_small_050", 32, {}),
    "MaxViT": ("maxvit_rmlp_pico_rw_256", 64, SMALL_STAGES),
    "DINOv2": ("vit_small_patch14_dinov2", 28, {**SMALL_VIT, "img_size": 28}),
    "DINOv2 with registers": ("vit_small_patch14_reg4_dinov2", 28, {**SMALL_VIT, "img_size": 28}),
    "DINOv3": ("vit_small_patch16_dinov3", 32, SMALL_VIT),
    "EVA": ("eva02_tiny_patch14_224", 28, {**SMALL_VIT, "img_size": 28}),
    "SigLIP": ("vit_base_patch16_siglip_224", 32, SMALL_VIT),
    "CLIP": ("vit_base_patch16_clip_224", 32, SMALL_VIT),
    "hybrid": ("vit_tiny_r_s16_p8_224", 32, {**SMALL_VIT, "img_size": 32}),
    "CoAtNet": ("coatnet_nano_rw_224", 64, SMALL_STAGES),
}  # fmt: skip
SMALL_TRANSFORMER = {"image_size": 32, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
HUGGING_FACE: dict[str, tuple[str, int, dict[str, Any]]] = {
    "ViT": ("vit", 32, {**SMALL_TRANSFORMER, "intermediate_size": 48}),
    "DeiT": ("deit", 32, {**SMALL_TRANSFORMER, "intermediate_size": 48}),
    "DINOv2": ("dinov2", 28, {**SMALL_TRANSFORMER, "image_size": 28}),
    "DINOv2 with registers": (
        "dinov2_with_registers", 28, {**SMALL_TRANSFORMER, "image_size": 28, "patch_size": 14},
    ),
    "DINOv3": ("dinov3_vit", 32, {**SMALL_TRANSFORMER, "intermediate_size": 48, "num_register_tokens": 2}),
    "SigLIP": ("siglip_vision_model", 32, {**SMALL_TRANSFORMER, "intermediate_size": 48}),
    "SigLIP2": (
        "siglip2", 32,
        {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
         "num_patches": 4},
    ),
    "CLIP": ("clip", 32, {**SMALL_TRANSFORMER, "intermediate_size": 48, "patch_size": 16}),
    "ConvNeXt": ("convnext", 32, {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}),
    "Swin": (
        "swin", 32,
        {"image_size": 32, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
    ),
    "ResNet": ("resnet", 32, {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}),
}  # fmt: skip
TORCHVISION: dict[str, tuple[str, int, dict[str, Any]]] = {
    "MobileNet": ("mobilenet_v3_small", 32, {}),
    "ShuffleNet": ("shufflenet_v2_x0_5", 32, {}),
    "RegNet": ("regnet_y_400mf", 32, {}),
    "EfficientNet": ("efficientnet_b0", 32, {}),
}
CASES = [
    *(pytest.param(*case, id=f"timm {family}") for family, case in TIMM.items()),
    *(pytest.param(f"hf:{name}", *rest, id=f"hf {family}") for family, (name, *rest) in HUGGING_FACE.items()),
    *(
        pytest.param(f"torchvision:{name}", *rest, id=f"torchvision {family}")
        for family, (name, *rest) in TORCHVISION.items()
    ),
]


@pytest.mark.parametrize(("name", "size", "arguments"), CASES)
def test_a_model_of_each_family_trains_and_reloads(
    name: str, size: int, arguments: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)

    def build(**changes: Any) -> FrameAverage:
        return FrameAverage(
            name, 3, pretrained=False, backbone_args=arguments, mlp_dim=8, dropout_rate=0.0, **changes
        )

    model = build()
    frames = torch.randn(2, 3, 2, size, size)
    model(frames).square().sum().backward()
    learning = {n: p for n, p in model.backbone.named_parameters() if p.requires_grad}
    assert [n for n, p in learning.items() if p.grad is None] == []
    frozen = (
        model.backbone.state_dict().keys() - learning.keys() - dict(model.backbone.named_buffers()).keys()
    )
    assert all("mask_token" in name for name in frozen)  # only masked image modelling uses it
    assert len(model.frame_mean) == len(model.frame_std) == 3

    model.eval()
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "w.safetensors"
    )
    again = build(frozen=True).eval()
    again.load_state_dict(load_file(tmp_path / "w.safetensors"))
    with torch.no_grad():
        expected, features = model(frames), model.encode_frames(frames)
        torch.testing.assert_close(again(frames), expected)
    assert features.shape == (2, 2, model.feature_dim)
    assert features.std(dim=(0, 1)).max() > 0  # features differ between frames
    assert not again.encode_frames(frames).requires_grad


@pytest.mark.parametrize(
    ("name", "pooling", "unused"),
    [
        ("hf:siglip_vision_model", "mean", "model.head."),
        ("hf:beit", "cls", "model.pooler."),
        ("hf:dinov3_vit", "", "model.embeddings.mask_token"),
    ],
)
def test_parameters_that_the_pooling_does_not_use_are_frozen(name: str, pooling: str, unused: str) -> None:
    """DistributedDataParallel does not accept that they have no gradient."""
    arguments = {**SMALL_TRANSFORMER, "intermediate_size": 48}
    model = FrameAverage(name, 3, pretrained=False, backbone_args=arguments, pooling=pooling, mlp_dim=8)
    model(torch.randn(1, 3, 2, 32, 32)).square().sum().backward()
    weights = dict(model.backbone.named_parameters())
    assert all(weight.grad is not None for weight in weights.values() if weight.requires_grad)
    frozen = {name for name, weight in weights.items() if not weight.requires_grad}
    assert frozen
    assert all(name.startswith(unused) for name in frozen)


@pytest.mark.parametrize(
    ("name", "arguments", "size", "hint"),
    [
        ("vit_tiny_patch16_224", {**SMALL_VIT}, 48, "img_size to the crop size"),
        ("swin_tiny_patch4_window7_224", TIMM["Swin"][2], 64, "img_size to the crop size"),
        ("hf:vit", HUGGING_FACE["ViT"][2], 48, "dynamic_img_size True"),
        ("hf:dinov2", HUGGING_FACE["DINOv2"][2], 32, "multiples of 14, the patch size"),
        (
            "vit_tiny_patch16_224",
            {**SMALL_VIT, "dynamic_img_size": True},
            40,
            "multiples of 16, the patch size",
        ),
    ],
)
def test_an_unsupported_image_size_is_refused_with_a_remedy(
    name: str, arguments: dict[str, Any], size: int, hint: str
) -> None:
    model = FrameAverage(name, 3, pretrained=False, backbone_args=arguments, mlp_dim=8)
    with pytest.raises(InputError, match=hint):
        model(torch.zeros(1, 3, 2, size, size))


@pytest.mark.parametrize(
    ("name", "arguments"), [("vit_tiny_patch16_224", SMALL_VIT), ("hf:vit", HUGGING_FACE["ViT"][2])]
)
def test_position_embeddings_are_resized_on_request(name: str, arguments: dict[str, Any]) -> None:
    model = FrameAverage(
        name, 3, pretrained=False, backbone_args={**arguments, "dynamic_img_size": True}, mlp_dim=8
    )
    assert model(torch.randn(1, 3, 2, 64, 64)).shape == (1, 3)
    assert model.frame_size == 32


@pytest.mark.parametrize(
    ("name", "arguments", "own", "others", "missing"),
    [
        ("vit_tiny_patch16_224", SMALL_VIT, "cls", ["mean"], ["map"]),
        ("vit_base_patch16_siglip_224", SMALL_VIT, "map", ["mean"], ["cls"]),
        ("resnet10t", TIMM["ResNet"][2], "mean", [], ["cls", "map"]),
        ("hf:vit", HUGGING_FACE["ViT"][2], "cls", ["mean"], ["map"]),
        ("hf:clip", HUGGING_FACE["CLIP"][2], "cls", ["mean"], ["map"]),
        ("hf:siglip_vision_model", HUGGING_FACE["SigLIP"][2], "map", ["mean"], ["cls"]),
        ("hf:swin", HUGGING_FACE["Swin"][2], "mean", [], ["cls", "map"]),
        ("torchvision:mobilenet_v3_small", {}, "", [], ["cls", "mean", "map"]),
    ],
)
def test_pooling_is_chosen_or_refused(
    name: str, arguments: dict[str, Any], own: str, others: list[str], missing: list[str]
) -> None:
    images = torch.randn(2, 3, 32, 32)

    def features(pooling: str) -> torch.Tensor:
        torch.manual_seed(0)
        built = build_backbone(name, pretrained=False, options=arguments, pooling=pooling)
        with torch.no_grad():
            return built.network.eval()(images)

    torch.testing.assert_close(features(own), features(""))
    for other in others:
        assert features(other).shape == features("").shape
        assert not torch.allclose(features(other), features(""), atol=1e-3)
    for pooling in missing:
        with pytest.raises(ModelError, match=r"VTN\.BACKBONE\.POOLING"):
            features(pooling)
