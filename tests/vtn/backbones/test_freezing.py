"""Selection of trained backbone parameters: frozen blocks, normalization layers, LoRA adapters."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slowfast.checkpoint.weights import load_model_weights
from slowfast.errors import ModelError
from tests.support.backbones.training_step import train_a_step
from vtn import FrameAverage
from vtn.backbones.tuning.blocks import parameter_depths
from vtn.backbones.tuning.freezing import autocast_modules, batch_norms, unfreeze_norms
from vtn.backbones.tuning.lora import LoRA, add_lora

VIT = ("vit_tiny_patch16_224", {"img_size": 32, "embed_dim": 32, "depth": 3, "num_heads": 2})
RESNET = ("resnet10t", {"layers": (1, 1, 1, 1), "channels": (8, 16, 16, 24), "zero_init_last": False})
HF_VIT = (
    "hf:dinov2",
    {"image_size": 28, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2},
)
MOBILENET = ("torchvision:mobilenet_v3_small", {})


def model_of(backbone: tuple[str, dict[str, Any]], **options: Any) -> FrameAverage:
    torch.manual_seed(0)
    name, arguments = backbone
    return FrameAverage(
        name, 3, pretrained=False, backbone_args=arguments, mlp_dim=8, dropout_rate=0.0, **options
    )


def frames_of(backbone: tuple[str, dict[str, Any]], seed: int = 0) -> Tensor:
    size = 28 if backbone is HF_VIT else 32
    return torch.randn(2, 3, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("backbone", [VIT, RESNET, HF_VIT, MOBILENET], ids=lambda backbone: backbone[0])
def test_frozen_first_blocks_do_not_change_and_other_blocks_do(backbone: tuple[str, dict[str, Any]]) -> None:
    model = model_of(backbone, frozen_blocks=1)
    depths = parameter_depths(model.backbone)
    frozen = {name for name, depth in depths.items() if depth <= 1}
    without_gradient = {name for name, p in model.backbone.named_parameters() if not p.requires_grad}
    assert all("mask_token" in name for name in without_gradient ^ frozen)  # used by masked modelling only
    changed = train_a_step(model, frames_of(backbone))
    assert not changed & frozen
    assert depths.keys() - without_gradient <= changed
    assert model.learns_features


def test_batch_norm_statistics_change_only_outside_frozen_blocks() -> None:
    changed = train_a_step(model_of(RESNET, frozen_blocks=1), frames_of(RESNET))
    statistics = {name for name in changed if name.endswith("running_mean")}
    assert statistics
    assert all(name.startswith(("layer2", "layer3", "layer4")) for name in statistics)


def test_frozen_first_blocks_are_not_part_of_the_autograd_graph() -> None:
    model = model_of(VIT, frozen_blocks=2)
    seen: dict[int, bool] = {}
    for number, block in enumerate(model.backbone.blocks):
        block.register_forward_hook(lambda _, __, out, n=number: seen.__setitem__(n, out.requires_grad))
    model.train()(frames_of(VIT))
    assert seen == {0: False, 1: False, 2: True}


@pytest.mark.parametrize("backbone", [VIT, RESNET], ids=["layer norms", "batch norms"])
def test_with_learning_norms_only_normalization_layers_change(backbone: tuple[str, dict[str, Any]]) -> None:
    model = model_of(backbone, frozen=True, learning_norms=True)
    changed = train_a_step(model, frames_of(backbone))
    modules = dict(model.backbone.named_modules())
    kinds = {type(modules[name.rpartition(".")[0]]).__name__ for name in changed}
    assert kinds
    assert all("norm" in kind.lower() for kind in kinds)
    assert not any("running" in name for name in changed)
    assert model.learns_features


def test_more_frozen_blocks_than_exist_are_refused() -> None:
    with pytest.raises(ModelError, match=r"FROZEN_BLOCKS = 4: must be at most 3, .* of VisionTransformer"):
        model_of(VIT, frozen_blocks=4)


def test_all_blocks_of_a_network_may_be_frozen_and_none_where_it_has_none() -> None:
    """The norm after the last block belongs to it, so that nothing learns."""
    assert not any(
        parameter.requires_grad for parameter in model_of(VIT, frozen_blocks=3).backbone.parameters()
    )
    network = nn.Linear(2, 3)
    network.feature_dim = 3  # type: ignore[assignment]
    with pytest.raises(ModelError, match=r"FROZEN_BLOCKS = 1: must be at most 0"):
        FrameAverage(network, 3, frozen_blocks=1)


def test_norms_of_other_libraries_are_known_by_their_names() -> None:
    class OwnRMSNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

    network = nn.Sequential(nn.Linear(2, 2), OwnRMSNorm()).requires_grad_(False)
    unfreeze_norms(network)
    assert [name for name, p in network.named_parameters() if p.requires_grad] == ["1.weight"]


def test_frozen_blocks_may_return_numbers_beside_tensors() -> None:
    """As blocks of MViT, which return the grid of their tokens."""

    class Block(nn.Module):
        def forward(self, tokens: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor, tuple[int, int]]:
            return tokens @ tokens.mT, torch.arange(2), grid

    network = nn.ModuleDict({"block": Block()})
    autocast_modules(network, ["block"], torch.bfloat16)
    product, numbers, grid = network["block"](torch.full((2, 2), 1.001), grid=(3, 4))
    assert torch.equal(product, torch.full((2, 2), 2.0))  # of bfloat16, in float32
    assert (product.dtype, numbers.dtype, grid) == (torch.float32, torch.int64, (3, 4))


@pytest.mark.parametrize("options", [{"frozen": True}, {"frozen_blocks": 2}], ids=["all", "first blocks"])
def test_frozen_blocks_compute_in_frozen_dtype(options: dict[str, Any]) -> None:
    """Frozen blocks compute in bfloat16; trained blocks get float32 inputs and compute in float32."""
    plain, half = model_of(VIT, **options), model_of(VIT, frozen_dtype="bfloat16", **options)
    dtypes: dict[str, torch.dtype] = {}
    for number in (0, 2):
        linear = half.backbone.blocks[number].mlp.fc1
        linear.register_forward_hook(lambda _, __, out, n=number: dtypes.__setitem__(f"block {n}", out.dtype))
    frames = frames_of(VIT)
    features = half.train().encode_frames(frames)
    expected = plain.train().encode_frames(frames)
    assert dtypes["block 0"] == torch.bfloat16
    assert dtypes["block 2"] == (torch.bfloat16 if "frozen" in options else torch.float32)
    torch.testing.assert_close(features.float(), expected, atol=0.05, rtol=0.05)
    assert not torch.equal(features.float(), expected)
    half(frames).sum().backward()


def test_depths_of_a_network_that_does_not_define_its_blocks() -> None:
    """The network has a stem, two stages of blocks, a layer between the stages, and a norm at the end."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(2, 2))

    network = nn.ModuleDict(
        {
            "stem": nn.Linear(2, 2),
            "first": nn.ModuleList([Block(), Block()]),
            "between": nn.Linear(2, 2),
            "second": nn.ModuleList([Block()]),
            "norm": nn.LayerNorm(2),
        }
    )
    depths = parameter_depths(network)
    assert {name.removesuffix(".weight"): depth for name, depth in depths.items() if "weight" in name} == {
        "stem": 0,
        "first.0.inner.0": 1,
        "first.1.inner.0": 2,
        "between": 2,
        "second.0.inner.0": 3,
        "norm": 3,
    }


class TestLoRA:
    """LoRA adapters; the tests need peft, which the extra ``test`` installs."""

    @pytest.fixture(autouse=True)
    def peft(self) -> None:
        pytest.importorskip("peft", reason="peft is not installed; it is in the extra 'lora'")

    @pytest.mark.parametrize("backbone", [VIT, HF_VIT], ids=["timm", "hf"])
    def test_only_adapters_change(self, backbone: tuple[str, dict[str, Any]]) -> None:
        plain, model = model_of(backbone), model_of(backbone, lora={"rank": 2})
        frames = frames_of(backbone)
        initial = model.eval().encode_frames(frames)  # new adapters do not change the output
        torch.testing.assert_close(initial, plain.eval().encode_frames(frames))
        changed = train_a_step(model, frames)
        assert changed
        assert all("lora_" in name for name in changed)
        assert model.learns_features

    def test_batch_norms_keep_their_statistics_and_train_their_parameters_on_request(self) -> None:
        model = model_of(RESNET, lora={"rank": 2, "targets": ["conv2"]}, learning_norms=True)
        changed = train_a_step(model, frames_of(RESNET))
        assert batch_norms(model.backbone)
        assert not any("running" in name for name in changed)
        assert "layer1.0.bn1.weight" in changed
        plain = {name.rpartition(".")[0] for name in changed if "lora_" not in name}
        assert plain <= set(batch_norms(model.backbone))

    def test_weights_saved_without_adapters_load(self, tmp_path: Path) -> None:
        frames = frames_of(VIT)
        plain = model_of(VIT).eval()
        with torch.no_grad():
            plain.backbone.blocks[0].attn.qkv.weight.mul_(2)
        torch.save({"model_state": plain.state_dict()}, tmp_path / "plain.pyth")
        model = model_of(VIT, lora={"rank": 2, "targets": ["qkv"]}).eval()
        load_model_weights(model, tmp_path / "plain.pyth")
        torch.testing.assert_close(model(frames), plain(frames))

        train_a_step(model, frames)
        trained = model.eval()(frames)
        torch.save({"model_state": model.state_dict()}, tmp_path / "adapted.pyth")
        again = model_of(VIT, lora={"rank": 2, "targets": ["qkv"]}).eval()
        load_model_weights(again, tmp_path / "adapted.pyth")
        torch.testing.assert_close(again(frames), trained)

    def test_targets_that_match_no_layer_are_refused(self) -> None:
        with pytest.raises(ModelError, match=r"LORA\.TARGETS = \['query'\].*blocks\.0\.attn\.qkv"):
            model_of(VIT, lora={"rank": 2, "targets": ["query"]})

    def test_linear_layers_that_are_never_called_get_no_adapters(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        network = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        add_lora(network, LoRA(rank=2))
        assert "no adapters to the attention of 1 layer" in caplog.text
        network(torch.randn(2, 3, 16)).square().sum().backward()
        adapters = {name: p for name, p in network.named_parameters() if "lora_" in name}
        assert all(parameter.grad is not None for parameter in adapters.values())
        assert {name.partition(".")[0] for name in adapters} == {"linear1", "linear2"}
        attention = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        with pytest.raises(
            ModelError, match=r"LORA\.TARGETS = \['out_proj'\].*for example linear1, linear2$"
        ):
            add_lora(attention, LoRA(rank=2, targets=["out_proj"]))

    @pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "beit_base_patch16_224"])
    def test_layers_whose_weights_are_used_without_a_call_are_reported(
        self, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """timm's EVA and BEiT compute ``F.linear(x, self.qkv.weight, …)``, which passes by the adapter."""
        size = 28 if "14" in name else 32
        backbone = name, {"img_size": size, "embed_dim": 48, "depth": 2, "num_heads": 2}
        model = model_of(backbone, lora={"rank": 2})
        assert "no effect on 2 of 8 layers" in caplog.text or "no effect on 2 of 10 layers" in caplog.text
        assert "blocks.0.attn.qkv" in caplog.text
        model(torch.randn(1, 3, 2, size, size)).square().sum().backward()
        learning = {n: p for n, p in model.backbone.named_parameters() if p.requires_grad}
        assert all(p.grad is not None for p in learning.values())
        assert any("attn.proj.lora_A" in n for n in learning)
        with pytest.raises(ModelError, match=r"LORA\.TARGETS.*blocks\.0\.attn\.qkv.*without calling"):
            model_of(backbone, lora={"rank": 2, "targets": ["qkv"]})

    @pytest.mark.parametrize("tokens", [(1, 1), (2, 2)])
    def test_layers_of_later_stages_are_not_reported(
        self, tokens: tuple[int, int], caplog: pytest.LogCaptureFixture
    ) -> None:
        model_of(VIT, lora={"rank": 2}, tokens=tokens, stage=1)
        assert "LoRA" not in caplog.text


def test_lora_takes_no_dtype_of_frozen_parts() -> None:
    """Its layers are trained in the dtype of the others; the setting was without effect."""
    with pytest.raises(ModelError, match=r"frozen_dtype = 'bfloat16': has no effect with backbone\.lora"):
        model_of(VIT, lora={"rank": 2, "targets": ["qkv"]}, frozen_dtype="bfloat16")


def test_dropout_between_frozen_parts_is_off() -> None:
    """It has no parameters of its own; behind the frozen blocks it stays on."""
    model = model_of((VIT[0], {**VIT[1], "pos_drop_rate": 0.5}), frozen_blocks=1)
    model.train()
    assert not model.backbone.pos_drop.training
    assert model.backbone.blocks[2].training


def test_threads_with_contexts_of_their_own_share_frozen_blocks() -> None:
    model = model_of(VIT, frozen_blocks=2, frozen_dtype="bfloat16").eval()
    frames = frames_of(VIT)

    def encode(with_autocast: bool) -> bool:
        unchanged = True
        for _ in range(20):
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=with_autocast):
                model.encode_frames(frames)
                unchanged &= torch.is_autocast_enabled("cpu") == with_autocast
        return unchanged and not torch.is_autocast_enabled("cpu")

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(encode, [True, False, True, False]))
