"""The parts of the model for few videos: standardised input, differences, pooling, skip."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from slowfast.config import load_config
from slowfast.errors import ConfigError, ModelError
from slowfast.features.temporal_statistics import absolute_differences, temporal_statistics
from slowfast.models.capabilities import StandardizesFeatures
from tests.support.tiny_models import FEATURE_DIM, random_features, tiny, tiny_average
from vtn import VTN, FrameAverage

ALL_ON: dict[str, Any] = {
    "input_standardize": True,
    "input_differences": True,
    "input_dropout": 0.3,
    "head_pooling": "cls+mean+std",
    "head_skip": True,
}
MEAN, STD = torch.linspace(-1, 1, FEATURE_DIM), torch.linspace(0.5, 2, FEATURE_DIM)


def standardized(features: torch.Tensor) -> torch.Tensor:
    return ((features - MEAN) / STD).clamp(-5, 5)


def test_without_the_keys_no_weight_is_added() -> None:
    names = set(tiny().state_dict())
    assert not [name for name in names if name.startswith(("feature_input", "statistics_skip"))]
    assert (
        set(tiny(**ALL_ON).state_dict()) - names
        == {
            "feature_input.standardization.mean",
            "feature_input.standardization.std",
            "feature_input.standardization.num_features",
            "statistics_skip.linear.weight",
            "statistics_skip.linear.bias",
            "temporal_encoder.feature_projection.weight",
            "temporal_encoder.feature_projection.bias",
        }
        - names
    )


@pytest.mark.parametrize("build", [tiny, tiny_average])
def test_standardised_features_give_the_logits_of_features_that_were_standardised_before(build: Any) -> None:
    plain, model = build(), build(input_standardize=True)
    model.set_feature_statistics(MEAN, STD, 7)
    model.load_state_dict({**model.state_dict(), **plain.state_dict()})
    features = random_features() * 10  # some are clipped
    torch.testing.assert_close(model.classify(features), plain.classify(standardized(features)))


def test_a_channel_that_does_not_vary_becomes_0_and_its_noise_is_not_amplified() -> None:
    model = tiny(input_standardize=True)
    model.set_feature_statistics(MEAN, torch.zeros(FEATURE_DIM), 7)
    prepared = model.feature_input.prepare((MEAN + 1e-6).expand(1, 3, -1), None)
    assert prepared.abs().max() < 1e-5


def test_differences_are_further_channels() -> None:
    model = tiny(input_differences=True)
    plain = tiny(backbone_args={"image_size": 16, "width": 4, "feature_dim": 2 * FEATURE_DIM})
    after = {name: value for name, value in model.state_dict().items() if not name.startswith("backbone")}
    plain.load_state_dict(after, strict=False)
    features = random_features()
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    both = torch.cat([features, absolute_differences(features, mask)], dim=-1)
    torch.testing.assert_close(model.classify(features, mask=mask), plain.classify(both, mask=mask))


def test_the_pooled_state_is_that_of_all_final_states() -> None:
    model, features = tiny(head_pooling="cls+mean+std"), random_features()
    *_, (layer, tokens) = model.temporal_encoder.walk(features, model.cls_token, None, None)
    final = layer(tokens, None)
    frames = final[:, 1:]
    state = model.encode_video(features)
    expected = torch.cat([final[:, 0], frames.mean(dim=1), frames.std(dim=1, correction=0)], dim=1)
    torch.testing.assert_close(state, expected)


def test_the_pooled_state_is_the_same_in_chunks_and_packed() -> None:
    model = tiny(head_pooling="cls+mean+std", attention_window=6)
    features = torch.randn(2, 1300, FEATURE_DIM, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(1300) < torch.tensor([[1300], [900]])
    expected = model.encode_video(features, mask=mask)
    with torch.no_grad():
        torch.testing.assert_close(model.encode_video(features, mask=mask), expected, atol=1e-4, rtol=1e-4)
        model.prepare_inference()
        torch.testing.assert_close(model.encode_video(features, mask=mask), expected, atol=1e-4, rtol=1e-4)


def test_the_skip_adds_a_linear_function_of_the_statistics() -> None:
    plain, model = tiny(), tiny(head_skip=True)
    features = random_features()
    skip = model.statistics_skip
    assert skip is not None
    added = skip.linear(temporal_statistics(features))
    model.load_state_dict({**model.state_dict(), **plain.state_dict()})
    torch.testing.assert_close(model.classify(features), plain.classify(features) + added)


def test_the_skip_starts_at_zero() -> None:
    model = VTN("shallow_conv", pretrained=False, num_classes=3, head_skip=True)
    assert model.statistics_skip is not None
    assert model.statistics_skip.linear.weight.abs().sum() == 0


@pytest.mark.parametrize("parts", [ALL_ON, {"head_skip": True}, {"head_pooling": "cls+mean+std"}])
@pytest.mark.parametrize("tokens", [1, 4])
def test_masked_frames_have_no_influence(tokens: int, parts: dict[str, Any]) -> None:
    model = tiny(**parts, tokens=[2, tokens // 2] if tokens > 1 else [1, 1])
    if model.needs_feature_statistics:
        model.set_feature_statistics(torch.zeros(model.feature_dim), torch.ones(model.feature_dim), 7)
    features = torch.randn(2, 6, *model.feature_shape)
    mask = torch.arange(6) < torch.tensor([[6], [4]])
    lost = features.masked_fill(~mask.view(2, 6, *(1 for _ in model.feature_shape)), torch.nan)
    logits = model.classify(lost, mask=mask)
    torch.testing.assert_close(logits[1:], model.classify(features[1:, :4]))
    torch.testing.assert_close(logits[:1], model.classify(features[:1]))


def test_only_a_model_that_standardises_needs_statistics() -> None:
    model = tiny(input_standardize=True)
    assert isinstance(model, StandardizesFeatures)
    assert model.needs_feature_statistics
    model.set_feature_statistics(MEAN, STD, 7)
    assert not model.needs_feature_statistics
    again = tiny(input_standardize=True)
    again.load_state_dict(model.state_dict())
    assert not again.needs_feature_statistics
    assert not tiny().needs_feature_statistics
    with pytest.raises(ModelError, match=r"input\.standardize = False: must be True"):
        tiny().set_feature_statistics(MEAN, STD, 7)


@pytest.mark.parametrize(
    ("field", "value"), [("input_differences", True), ("head_skip", True), ("head_pooling", "cls+mean+std")]
)
def test_the_baseline_without_order_refuses_the_parts_that_use_it(field: str, value: Any) -> None:
    """Before its backbone is built, whose weights may be a download."""
    with pytest.raises(ModelError, match=rf"{field.replace('_', '.', 1)} = .*: must be .* for FrameAverage"):
        FrameAverage("no_such_backbone", **{field: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("VTN.INPUT.DROPOUT", "1.0"), r"VTN.INPUT.DROPOUT \(override\) = 1.0: must be a fraction"),
        (("VTN.INPUT.STANDARDIZE", "True"), "must be False unless VTN.BACKBONE.FROZEN is True"),
        (("VTN.HEAD.POOLING", "mean"), r"VTN.HEAD.POOLING \(override\) = 'mean': must be one of cls, "),
        (
            ("MODEL.MODEL_NAME", "FrameAverage", "VTN.HEAD.SKIP", "True"),
            r"VTN.HEAD.SKIP \(override\) = True: must be False",
        ),
    ],
)
def test_wrong_keys_are_reported_before_work_starts(changes: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("VIT_B_VTN", ["TEST.ENABLE", "False", "DATA.PATH_TO_DATA_DIR", "x", *changes])


@pytest.mark.parametrize("width", [2, 2000])
def test_standardised_features_of_any_width_have_deviation_1_after_the_projection(width: int) -> None:
    torch.manual_seed(0)
    arguments = {"backbone_args": {"feature_dim": width}, "pretrained": False, "num_classes": 2}
    model = VTN("precomputed", input_standardize=True, hidden_dim=256, num_heads=4, **arguments)
    projected = model.temporal_encoder.feature_projection(torch.randn(64, width))
    assert projected.std().item() == pytest.approx(1.0, rel=0.2)


def test_the_skip_is_computed_in_float32_at_least() -> None:
    """Squares of float16, the dtype of extracted features, would be infinite above 256."""
    model = tiny(head_skip=True)
    torch.nn.init.normal_(model.statistics_skip.linear.weight, std=0.01)
    features = (random_features() * 300).half()
    with torch.no_grad():
        logits = model.eval().classify(features)
        torch.testing.assert_close(logits, model.classify(features.float()), rtol=1e-2, atol=1e-2)
