"""The temporal encoder equals Hugging Face's ``LongformerModel``; chunks, masks, positions, memory.

Shapes: B clips, T frames, D width, L layers.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LongformerConfig, LongformerModel

from slowfast.errors import ModelError
from vtn import VTN
from vtn.arguments.groups import EncoderConfig
from vtn.encoder import encoder_layer
from vtn.encoder.temporal_encoder import TemporalEncoder

WIDTH = 24


def make_encoder(windows: list[int] | int = 4, layers: int = 3, **changes: Any) -> TemporalEncoder:
    arguments: dict[str, Any] = {
        "hidden_dim": WIDTH,
        "num_layers": layers,
        "num_heads": 3,
        "intermediate_size": 40,
        "attention_window": windows,
        "position": "learned",
        "max_position_embeddings": 50,
        "hidden_dropout": 0.1,
        "attention_dropout": 0.1,
    }
    encoder = TemporalEncoder(WIDTH, EncoderConfig(**{**arguments, **changes}))
    with torch.no_grad():  # initial weights are too small to show errors
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return encoder.eval()


def hugging_face_cls(
    encoder: TemporalEncoder,
    windows: list[int],
    features: Tensor,
    cls: Tensor,
    positions: Tensor,
    mask: Tensor,
) -> Tensor:
    """Returns the final [CLS] (B, D) of Hugging Face's model with the encoder's weights."""
    model = LongformerModel(
        LongformerConfig(
            hidden_size=WIDTH,
            num_hidden_layers=len(windows),
            num_attention_heads=3,
            intermediate_size=40,
            attention_window=windows,
            max_position_embeddings=50,
            pad_token_id=49,
            type_vocab_size=2,
            layer_norm_eps=1e-12,
            vocab_size=50,
        ),
        add_pooling_layer=False,
    )
    missing, unexpected = model.load_state_dict(encoder.state_dict(), strict=False)
    assert missing == ["embeddings.word_embeddings.weight"]
    assert not unexpected
    B, T, _ = features.shape
    first = torch.zeros(B, 1, dtype=torch.long)
    output = model.eval().to(features.dtype)(
        inputs_embeds=torch.cat([cls.expand(B, -1, -1), features], dim=1),
        position_ids=torch.cat([first + 48, positions % 48], dim=1),
        token_type_ids=torch.cat([first + 1, first.expand(B, T)], dim=1),
        attention_mask=torch.cat([first + 1, mask.long()], dim=1),
        global_attention_mask=torch.cat([first + 1, first.expand(B, T)], dim=1),
    )
    return output.last_hidden_state[:, 0]


@settings(max_examples=30)
@given(
    frames=st.integers(1, 150),
    clips=st.integers(1, 3),
    # Hugging Face pads to a multiple of the largest window, which must be a multiple of the other windows.
    windows=st.sampled_from([[4], [18], [6, 6], [18, 6], [4, 12], [32, 4, 8], [18, 18, 18]]),
    masked=st.booleans(),
    seed=st.integers(0, 2**31),
)
@torch.no_grad()
def test_equals_hugging_face(frames: int, clips: int, windows: list[int], masked: bool, seed: int) -> None:
    """In float64 up to Hugging Face's float32 softmax; in smaller dtypes with at most twice its error."""
    torch.manual_seed(seed)
    encoder = make_encoder(windows, len(windows)).double()
    features = torch.randn(clips, frames, WIDTH, dtype=torch.float64)
    cls = torch.randn(1, 1, WIDTH, dtype=torch.float64)
    positions = torch.randint(0, 1000, (clips, frames))
    mask = torch.ones(clips, frames, dtype=torch.bool)
    if masked:  # only padding at the end; masks with gaps are tested against the reference
        lengths = torch.randint(1, frames + 1, (clips, 1))
        mask = torch.arange(frames) < lengths
    oracle = hugging_face_cls(encoder, windows, features, cls, positions, mask)
    given_mask = mask if masked else None
    torch.testing.assert_close(encoder(features, cls, positions, given_mask), oracle, atol=2e-6, rtol=0)
    for dtype, floor in ((torch.float32, 1e-5), (torch.bfloat16, 5e-2)):
        inputs = features.to(dtype), cls.to(dtype), positions
        ours = encoder.to(dtype)(*inputs, given_mask)
        theirs = hugging_face_cls(encoder, windows, *inputs, mask)
        assert ours.dtype == dtype
        error = (ours.double() - oracle).abs().max()
        assert error <= 2 * (theirs.double() - oracle).abs().max() + floor


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("windows", [[4, 4, 4], [18, 32, 4], [90, 90, 90]])
def test_computing_in_chunks_and_in_place_equals_the_full_computation(
    windows: list[int], masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without gradients a long sequence is computed in chunks that overwrite their inputs."""
    torch.manual_seed(0)
    encoder = make_encoder(windows).double()
    features, cls = torch.randn(3, 203, WIDTH, dtype=torch.float64), torch.randn(1, 1, WIDTH).double()
    positions = torch.randint(0, 500, (3, 203))
    mask = torch.rand(3, 203) < 0.8 if masked else None
    full = encoder(features, cls, positions, mask)
    assert full.requires_grad
    for size in (20, 100, 202, 203):
        monkeypatch.setattr(encoder_layer, "CHUNK", size)
        monkeypatch.setattr("vtn.encoder.temporal_encoder.CHUNK", size)
        before = features.clone()
        with torch.no_grad():
            chunked = encoder(features, cls, positions, mask)
        torch.testing.assert_close(chunked, full.detach())
        assert torch.equal(features, before), "the encoder must not overwrite its input"


@torch.no_grad()
def test_padding_does_not_change_the_result() -> None:
    """A padded clip gives the same state as the clip alone, even if the padding is NaN."""
    torch.manual_seed(0)
    encoder = make_encoder(18)
    cls = torch.randn(1, 1, WIDTH)
    lengths = (1, 7, 60)
    features = torch.full((3, 60, WIDTH), float("nan"))
    positions, mask = torch.zeros(3, 60, dtype=torch.long), torch.zeros(3, 60, dtype=torch.bool)
    for row, length in enumerate(lengths):
        features[row, :length] = torch.randn(length, WIDTH)
        positions[row, :length] = torch.arange(length) * 3
        mask[row, :length] = True
    batch = encoder(features, cls, positions, mask)
    for row, n in enumerate(lengths):
        alone = encoder(features[row : row + 1, :n], cls, positions[row : row + 1, :n], None)
        torch.testing.assert_close(batch[row : row + 1], alone, atol=1e-5, rtol=0)


def test_gradients_are_finite_under_masks_and_dropout() -> None:
    torch.manual_seed(0)
    encoder = make_encoder(4).train()
    features = torch.full((2, 90, WIDTH), float("nan"))
    mask = torch.zeros(2, 90, dtype=torch.bool)
    mask[0, :3], mask[1, :80] = True, True
    features[mask] = torch.randn(83, WIDTH)
    features.requires_grad_()
    encoder(features, torch.randn(1, 1, WIDTH), None, mask).square().sum().backward()
    for name, parameter in [("features", features), *encoder.named_parameters()]:
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert (features.grad[~mask] == 0).all()


def test_training_drops_each_attention_weight_and_each_update_of_the_residual_stream() -> None:
    """Dropout of probability 1 leaves no context or no update; in evaluation it does nothing."""
    torch.manual_seed(0)
    tokens = torch.randn(2, 9, WIDTH)
    plain = make_encoder(layers=1, hidden_dropout=0.0, attention_dropout=0.0).layers[0].train()
    norms = plain.attention["output"]["LayerNorm"], plain.output["LayerNorm"]
    without_context = plain._feed_forward(tokens, torch.zeros_like(tokens))
    for name, expected in (("attention_dropout", without_context), ("dropout", norms[1](norms[0](tokens)))):
        layer = copy.deepcopy(plain)
        setattr(layer, name, 1.0)
        torch.testing.assert_close(layer(tokens, None), expected)
        torch.testing.assert_close(layer.cls_state(tokens, None), expected[:, 0])
        torch.testing.assert_close(layer.eval()(tokens, None), plain(tokens, None))


def test_weights_without_influence_on_the_output_get_zero_gradients() -> None:
    """The last layer computes [CLS] only: query, key and value of frames exist only for the state dict."""
    encoder = make_encoder(4)
    encoder(torch.randn(2, 10, WIDTH), torch.randn(1, 1, WIDTH), None, None).sum().backward()
    last = encoder.layers[-1].attention["self"]
    unused = [last[name].weight for name in ("query", "key", "value")]
    unused += [layer.attention["self"]["key_global"].bias for layer in encoder.layers]
    assert all((parameter.grad == 0).all() for parameter in unused)
    assert all(parameter.grad is not None for parameter in encoder.parameters())


@pytest.mark.parametrize(("kind", "repeats"), [("learned", True), ("sinusoidal", False), ("none", True)])
@torch.no_grad()
def test_learned_positions_beyond_the_table_repeat(kind: str, repeats: bool) -> None:
    """Learned positions repeat after P − 2 = 48; sinusoidal ones never repeat; ``none`` ignores positions."""
    torch.manual_seed(0)
    encoder = make_encoder(4, position=kind)
    features, cls = torch.randn(1, 6, WIDTH), torch.randn(1, 1, WIDTH)
    near = torch.arange(6)[None]
    for shift in (48, 4_800, 48_000_000):
        same = torch.allclose(encoder(features, cls, near, None), encoder(features, cls, near + shift, None))
        assert same == repeats
    moved = encoder(features, cls, near + 1, None)
    assert torch.allclose(encoder(features, cls, near, None), moved) == (kind == "none")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"windows": 5}, "must be even numbers from 2 on"),
        ({"windows": 0}, "must be even numbers from 2 on"),
        ({"windows": "x"}, "must be even numbers from 2 on"),
        ({"windows": 4.5}, "must be even numbers from 2 on"),
        ({"windows": [4, 4]}, "one per layer"),
        ({"num_heads": 5}, "must divide encoder.hidden_dim = 24; use for instance 4"),
        ({"position": "sinusoidal", "hidden_dim": 27}, "must be even, since sinusoidal positions"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make_encoder(**changes)


def test_torch_func_gives_the_gradients_of_the_backward_pass() -> None:
    model = VTN("shallow_conv", num_classes=3, pretrained=False, hidden_dim=16, num_heads=2, num_layers=1)
    model.eval()
    frames, weights = torch.randn(1, 3, 2, 64, 64), dict(model.named_parameters())
    model(frames)[0, 0].backward()
    found = torch.func.grad(lambda given: torch.func.functional_call(model, given, (frames,))[0, 0])(weights)
    for name, weight in weights.items():
        torch.testing.assert_close(found[name], weight.grad)


@torch.no_grad()
def test_memory_does_not_grow_with_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Besides the hidden sequence, only the attention weights of [CLS] (one per frame and head) grow."""
    monkeypatch.setattr(encoder_layer, "CHUNK", 64)
    monkeypatch.setattr("vtn.encoder.temporal_encoder.CHUNK", 64)
    encoder, cls = make_encoder(4), torch.randn(1, 1, WIDTH)

    def largest(frames: int) -> int:
        """Returns the element count of the largest tensor created, without views and the hidden sequence."""
        sizes = []

        class RecordSizes(TorchDispatchMode):
            def __torch_dispatch__(self, operator, types, arguments=(), options=None):
                result = operator(*arguments, **(options or {}))
                for value in result if isinstance(result, tuple | list) else [result]:
                    if (
                        isinstance(value, Tensor)
                        and value.numel() != (1 + frames) * WIDTH
                        and not operator.is_view
                    ):
                        sizes.append(value.numel())
                return result

        with RecordSizes():
            encoder(features[:, :frames], cls, None, None)
        return max(sizes)

    features = torch.randn(1, 4_000, WIDTH)
    chunked = largest(1_000)
    assert largest(4_000) <= max(chunked, 3 * 4_001)
    assert chunked < 1_000 * WIDTH / 2
