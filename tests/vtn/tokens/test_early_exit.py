"""Maps of earlier stages: the same features as with all blocks, without the blocks behind the stage."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from tests.support.tiny_models import TINY
from vtn import VTN
from vtn.backbones.build import build_backbone
from vtn.backbones.frames.token_reader import TokenReader
from vtn.backbones.maps.early_exit import output_of
from vtn.backbones.maps.token_grid import TokenGrid

VIT = {
    "image_size": 32, "patch_size": 16, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
    "intermediate_size": 48,
}  # fmt: skip
STAGES = {"embedding_size": 8, "hidden_sizes": [8, 16, 24], "depths": [1, 2, 1], "layer_type": "basic"}
DINOV2 = {
    "image_size": 28, "patch_size": 14, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
}  # fmt: skip


class Case(NamedTuple):
    """A network with stages.

    Attributes:
        options: its arguments.
        stages: path of the module whose children are the stages.
        tested: numbers of stages.
        norm: path of the norm that follows the last block of a transformer.
        channels_last: whether a stage returns (N, h, w, F) rather than (N, F, h, w).
    """

    options: dict[str, Any]
    stages: str
    tested: tuple[int, ...]
    norm: str = ""
    channels_last: bool = False


CASES = {
    "hf:vit": Case(VIT, "model.layers", (1, 2), "model.layernorm"),
    "hf:dinov2": Case(DINOV2, "model.encoder.layer", (1, 2), "model.layernorm"),
    "hf:siglip_vision_model": Case(VIT, "model.encoder.layers", (1, 2), "model.post_layernorm"),
    "hf:clip": Case(VIT, "model.encoder.layers", (1, 2), "model.post_layernorm"),
    "hf:resnet": Case(STAGES, "model.encoder.stages", (1, 2)),
    "hf:convnext": Case(
        {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}, "model.encoder.stages", (1, 3)
    ),
    "torchvision:vit_b_16": Case({"image_size": 32}, "encoder.layers", (1, 2), "encoder.ln"),
    "torchvision:efficientnet_b0": Case({}, "features", (2, 5)),
    "torchvision:swin_t": Case({}, "features", (2, 3), channels_last=True),
}


def build(name: str, options: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    return build_backbone(name, pretrained=False, options=options)


def images_for(options: dict[str, Any]) -> Tensor:
    side = options.get("image_size", 64)
    return torch.randn(2, 3, side, side)


def count_hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in network.modules())


def count_calls(modules: nn.Module) -> tuple[Counter[int], dict[int, Tensor]]:
    """Counts the calls of each child from now on; also returns the last output of each."""
    calls: Counter[int] = Counter()
    outputs: dict[int, Tensor] = {}

    def count(index: int, output: Any) -> None:
        calls[index] += 1
        outputs[index] = output[0] if isinstance(output, tuple) else output

    for index, module in enumerate(modules.children()):
        module.register_forward_hook(lambda module, inputs, output, index=index: count(index, output))
    return calls, outputs


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_later_stages_are_not_computed_and_the_features_are_the_same(name: str) -> None:
    case = CASES[name]
    built = build(name, case.options)
    network, images = built.network.eval(), images_for(case.options)
    calls, outputs = count_calls(network.get_submodule(case.stages))
    hooks = count_hooks(network)
    for stage in case.tested:
        TokenReader(built, TokenGrid(1, 2, stage=stage)).prepare()
        network(images)  # all blocks
        assert len(calls) == len(network.get_submodule(case.stages))
        expected = outputs[stage - 1]
        if case.norm:  # tokens, of which the last ones are those of patches
            patches = (case.options["image_size"] // case.options.get("patch_size", 16)) ** 2
            expected = network.get_submodule(case.norm)(expected)[:, -patches:]
        elif not case.channels_last:
            expected = expected.permute(0, 2, 3, 1)
        calls.clear()
        places = built.feature_map(network, images, stage).places
        assert calls == dict.fromkeys(range(stage), 1)
        torch.testing.assert_close(places.flatten(1, 2) if case.norm else places, expected, rtol=0, atol=0)
        assert count_hooks(network) == hooks


def vtn(**changes: Any) -> VTN:
    torch.manual_seed(0)
    options = {**TINY, "backbone_args": VIT, "tokens": (2, 2), "stage": 2, "pretrained": False}
    return VTN("hf:vit", **{**options, **changes})


def step(model: VTN, frames: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns logits and gradients of one step in training mode, with the same random numbers."""
    torch.manual_seed(1)
    logits = model.train()(frames)
    logits.square().sum().backward()
    return logits, {name: w.grad for name, w in model.named_parameters() if w.grad is not None}


def test_activation_checkpointing_recomputes_the_same_part() -> None:
    frames = torch.randn(2, 3, 3, 32, 32)
    expected, gradients = step(vtn(), frames)
    model = vtn(act_checkpoint=True)
    calls, _ = count_calls(model.get_submodule("backbone.model.layers"))
    logits, found = step(model, frames)
    assert calls == {0: 2, 1: 2}
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(found, gradients)
    assert any(name.startswith("backbone.model.layers.1.") for name in found)


@torch.no_grad()
def test_autocast_of_a_frozen_backbone_ends_with_the_stage() -> None:
    frames = torch.randn(1, 3, 2, 32, 32)
    model = vtn(frozen=True, frozen_dtype="bfloat16").eval()
    found = model.encode_frames(frames)
    assert not torch.is_autocast_enabled("cpu")
    exact = vtn(frozen=True).eval().encode_frames(frames)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, atol=0.1, rtol=0.1)
    assert not torch.equal(found, exact)


def test_lora_learns_in_the_blocks_of_the_stage_only() -> None:
    pytest.importorskip("peft")
    model = vtn(lora={"rank": 2})
    _, gradients = step(model, torch.randn(1, 3, 2, 32, 32))
    adapted = {name for name in gradients if "lora" in name}
    assert any(".layers.1." in name for name in adapted)
    assert not any(".layers.2." in name for name in adapted)
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert gradients.keys() == learning


def test_stages_are_counted_from_1_where_the_stem_is_not_among_the_hidden_states() -> None:
    built = build("hf:mobilenet_v2", {"depth_multiplier": 0.25})
    blocks = built.network.model.layer
    for stage in (1, len(blocks)):
        reader = TokenReader(built, TokenGrid(1, 1, stage=stage))
        width = blocks[stage - 1].reduce_1x1.convolution.out_channels
        assert reader.prepare() == width


class Chain(nn.Module):
    """Three layers, of which the last one fails."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.unused = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.second(self.first(x))
        raise ValueError("the last layer")


def test_errors_before_the_module_are_raised_and_no_hook_remains() -> None:
    chain, x = Chain(), torch.randn(1, 2)
    expected = chain.second(chain.first(x))
    torch.testing.assert_close(output_of(chain.second, lambda: chain(x)), expected)
    with pytest.raises(ValueError, match="the last layer"):
        output_of(chain.unused, lambda: chain(x))
    with pytest.raises(LookupError, match="Linear was not called"):
        output_of(chain.unused, lambda: chain.first(x))
    assert not any(module._forward_hooks for module in chain.modules())


def test_other_threads_run_the_whole_network() -> None:
    layers, x, seen = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), torch.randn(1, 2), []

    def run() -> None:
        thread = threading.Thread(target=lambda: seen.append(layers(x)))
        thread.start()
        thread.join()
        layers(x)

    expected = layers(x)
    torch.testing.assert_close(output_of(layers[0], run), layers[0](x))
    torch.testing.assert_close(seen, [expected])
