"""The model reproduces the recorded outputs and gradients of the original implementation.

Shapes: B clips, T frames, D width, L layers, K classes, N frames of the bank.
"""

from __future__ import annotations

import json

import pytest
import torch
from torch.nn import functional as F

from tests.support.golden_cases import CASES, GOLDEN, VARIANT, Golden
from vtn import VTN
from vtn.arguments.groups import EncoderConfig
from vtn.encoder.temporal_encoder import TemporalEncoder


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def models(golden: Golden) -> dict[tuple[int, ...], VTN]:
    return {tuple(window): golden.model(window) for window in VARIANT["config"]["windows"]}


@pytest.fixture(scope="module")
def bank_features(golden: Golden, models: dict[tuple[int, ...], VTN]) -> torch.Tensor:
    """Returns the backbone's features of the frame bank (N, D), computed once for all cases."""
    frames = (golden.tensor("frame_bank").float() - 128) / 64
    with torch.no_grad():
        features = next(iter(models.values())).encode_frames(frames.transpose(0, 1)[None])
    close(features[0], golden.tensor("bank_features"))
    return features[0]


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_logits_and_cls_states_are_those_of_the_original(
    case: str, golden: Golden, models: dict[tuple[int, ...], VTN], bank_features: torch.Tensor
) -> None:
    entry = CASES[case]
    model = models[tuple(entry["window"])]
    inputs, positions = golden.inputs(case)
    if entry["kind"] == "frames":
        ids = golden.tensor(f"{entry['input_from']}.frame_ids").long()
        inputs = bank_features[ids]
    close(model.classify(inputs, positions), golden.tensor(f"{case}.logits"))
    if f"{case}.cls" in golden.arrays:
        steps = model.temporal_encoder.walk(inputs, model.cls_token, positions, None)
        states = [layer.cls_state(tokens, None) for layer, tokens in steps]
        close(torch.stack(states), golden.tensor(f"{case}.cls"))


@pytest.mark.parametrize("case", [case for case in CASES if case.endswith(("F16_wrap", "F37_wrap"))])
@torch.no_grad()
def test_hidden_states_equal_the_original(
    case: str, golden: Golden, models: dict[tuple[int, ...], VTN]
) -> None:
    """Compares the tokens before each layer; after the last layer only [CLS] is computed."""
    model = models[tuple(CASES[case]["window"])]
    frames, positions = golden.inputs(case)
    steps = model.temporal_encoder.walk(model.encode_frames(frames), model.cls_token, positions, None)
    tokens = [tokens.clone() for _, tokens in steps]
    close(tokens[0], golden.tensor(f"{case}.emb"))
    close(torch.stack(tokens[1:]), golden.tensor(f"{case}.hidden")[:-1])


@torch.no_grad()
def test_logits_from_frames_equal_the_original(golden: Golden, models: dict[tuple[int, ...], VTN]) -> None:
    frames, positions = golden.inputs("w0_F37_ragged")
    close(models[(18, 18, 18)](frames, positions), golden.tensor("w0_F37_ragged.logits"))


@torch.no_grad()
def test_layer_norm_epsilons_are_those_of_the_original(golden: Golden) -> None:
    """The recorded case has weights so small that a wrong epsilon of any LayerNorm changes the logits."""
    probe = VARIANT["eps_probe"]
    model = golden.model(probe["window"])
    scaled = {key: golden.weights[key] * probe["scale"] for key in probe["scaled_keys"]}
    model.load_state_dict({**golden.weights, **scaled})
    frames, positions = golden.inputs(probe["input_from"])
    close(model(frames, positions), golden.tensor("eps_probe.logits"))


def test_gradients_are_those_of_the_original(golden: Golden) -> None:
    recorded = json.loads((GOLDEN / "variant_a_grads.json").read_text())
    model = golden.model(CASES[recorded["case"]]["window"])
    frames, positions = golden.inputs(recorded["case"])
    loss = F.cross_entropy(model(frames, positions), torch.tensor(recorded["targets"]))
    loss.backward()
    assert loss.item() == pytest.approx(recorded["loss"], abs=1e-5)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert gradients.keys() == recorded["grad_norm_and_absmax"].keys()
    for name, (norm, largest) in recorded["grad_norm_and_absmax"].items():
        gradient = gradients[name]
        assert gradient is not None, name
        assert gradient.norm().item() == pytest.approx(norm, rel=1e-4, abs=1e-6), name
        assert gradient.abs().max().item() == pytest.approx(largest, rel=1e-4, abs=1e-6), name


def test_the_default_model_has_the_original_parameter_names_and_shapes() -> None:
    """``VTN()`` is the original's ViT-B with its 113,502,352 parameters."""
    expected = json.loads((GOLDEN / "key_list_vit_b.json").read_text())
    with torch.device("meta"):
        model = VTN(pretrained=False)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    wanted = {k["name"]: tuple(k["shape"]) for k in expected["keys"] if k["name"] not in expected["buffers"]}
    assert shapes == wanted
    assert sum(p.numel() for p in model.parameters()) == expected["total_params"] == 113_502_352


@pytest.mark.parametrize("position_ids", [None, torch.arange(288)[None], torch.full((1, 5), 3)])
@torch.no_grad()
def test_position_ids_of_a_checkpoint_are_ignored(position_ids: torch.Tensor | None, golden: Golden) -> None:
    """A strict load accepts the buffer, whatever its content, and weights and logits do not depend on it."""
    name = "temporal_encoder.embeddings.position_ids"
    assert name in golden.weights
    weights = {key: value for key, value in golden.weights.items() if key != name}
    buffer = {} if position_ids is None else {name: position_ids}
    case = next(case for case in CASES if case.endswith("F16_wrap"))
    model = golden.model(CASES[case]["window"])
    model.load_state_dict({**weights, **buffer}, strict=True)
    loaded = model.state_dict()
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[key], value) for key, value in weights.items())
    frames, positions = golden.inputs(case)
    close(model(frames, positions), golden.tensor(f"{case}.logits"))


@torch.no_grad()
def test_initial_weights_have_the_distribution_of_the_original() -> None:
    config = EncoderConfig(
        hidden_dim=64, num_layers=2, num_heads=4, intermediate_size=256, attention_window=4
    )
    encoder = TemporalEncoder(96, config, tokens_per_frame=2)
    assert encoder.spatial_positions is not None
    assert encoder.spatial_positions.shape == (2, 64)
    assert encoder.spatial_positions.std().item() == pytest.approx(0.02, rel=0.3)
    for name, parameter in encoder.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all(), name
        elif "LayerNorm" in name:
            assert (parameter == 1).all(), name
        elif parameter.numel() > 1000:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.1), name
    assert (encoder.embeddings.position_embeddings.weight[-1] == 0).all()
    model = VTN("shallow_conv", 5, hidden_dim=1024, num_heads=2, num_layers=1, intermediate_size=8)
    assert model.cls_token.std().item() == pytest.approx(1, rel=0.1)
    bound = 1 / 768**0.5  # PyTorch's default for a linear layer
    assert model.mlp_head[4].weight.abs().max().item() == pytest.approx(bound, rel=0.05)
