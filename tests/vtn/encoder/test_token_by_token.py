"""The temporal encoder against loops over clips, tokens and heads in float64, written from the paper alone.

States and gradients, for masks with holes, several tokens per frame, all poolings and positions, and both
with gradients and in the chunks of a computation without them.

B clips, T frames, M tokens of a frame, F width of a feature, D width, N heads, S tokens of a sequence.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from vtn.arguments.groups import EncoderConfig
from vtn.encoder import attention, encoder_layer, temporal_encoder
from vtn.encoder.temporal_encoder import TemporalEncoder

D, N, MAX_POSITIONS = 8, 2, 5


@dataclass
class Case:
    """One random encoder with its input.

    Attributes:
        windows: one per layer.
        mask: (B, T), with one real frame or more per clip.
    """

    encoder: TemporalEncoder
    windows: list[int]
    features: Tensor
    cls_token: Tensor
    positions: Tensor
    mask: Tensor


def random_case(seed: int) -> Case:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    M = rng.choice([1, 1, 2, 3])
    B, T, F = rng.choice([1, 2]), rng.choice([1, 2, 5, 13] if M == 1 else [1, 4, 7]), rng.choice([D, 6])
    windows = [rng.choice([2, 4, 6, 64]) for _ in range(rng.choice([1, 2]))]
    config = EncoderConfig(
        hidden_dim=D,
        num_layers=len(windows),
        num_heads=N,
        intermediate_size=12,
        attention_window=windows,
        position=rng.choice(["learned", "sinusoidal", "none"]),
        max_position_embeddings=MAX_POSITIONS,
        hidden_dropout=0.0,
        attention_dropout=0.0,
    )
    pooling = rng.choice(["cls", "cls+mean+std"])
    encoder = TemporalEncoder(F, config, tokens_per_frame=M, pooling=pooling).double()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(0, 0.4)
    mask = torch.rand(B, T) < rng.choice([0.4, 0.8, 1.1])
    mask[torch.arange(B), torch.randint(T, (B,))] = True
    features = torch.randn(B, T, F) if M == 1 else torch.randn(B, T, M, F)
    positions = torch.randint(1, 9, (B, T)).cumsum(dim=1)
    return Case(encoder, windows, features.double(), torch.randn(1, 1, D).double(), positions, mask)


def linear(x: Tensor, layer: Any) -> Tensor:
    return x @ layer.weight.T + layer.bias


def layer_norm(x: Tensor, layer: Any) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-12).sqrt() * layer.weight + layer.bias


def position_row(encoder: TemporalEncoder, position: int) -> Tensor:
    """Returns what is added for a position (D,)."""
    kind = type(encoder.embeddings.position_embeddings).__name__
    if kind == "LearnedPositions":
        return encoder.embeddings.position_embeddings.weight[position % (MAX_POSITIONS - 2)]
    if kind == "NoPositions":
        return torch.zeros(D, dtype=torch.float64)
    angles = [position / 10_000 ** (2 * (i // 2) / D) for i in range(D)]
    row = [math.sin(angle) if i % 2 == 0 else math.cos(angle) for i, angle in enumerate(angles)]
    return torch.tensor(row, dtype=torch.float64)


def embed(case: Case, clip: int) -> tuple[Tensor, list[int]]:
    """Returns the tokens (S, D) of the real frames of a clip, and their frames; that of [CLS] is −1."""
    encoder, embeddings = case.encoder, case.encoder.embeddings
    types = embeddings.token_type_embeddings.weight
    cls = case.cls_token[0, 0] + types[1]
    if hasattr(embeddings.position_embeddings, "weight"):
        cls = cls + embeddings.position_embeddings.weight[MAX_POSITIONS - 2]
    tokens, frames = [layer_norm(cls, embeddings.LayerNorm)], [-1]
    for t in range(case.mask.shape[1]):
        if not case.mask[clip, t]:
            continue
        for m, token in enumerate(case.features[clip, t].reshape(encoder.tokens_per_frame, -1)):
            projection = encoder.feature_projection
            x = linear(token, projection) if isinstance(projection, torch.nn.Linear) else token
            x = x + position_row(encoder, int(case.positions[clip, t])) + types[0]
            if encoder.spatial_positions is not None:
                x = x + encoder.spatial_positions[m]
            tokens.append(layer_norm(x, embeddings.LayerNorm))
            frames.append(t)
    return torch.stack(tokens), frames


def attend(tokens: Tensor, frames: list[int], projections: Any, window: int) -> Tensor:
    """Returns the contexts (S, D) of all tokens."""
    contexts = []
    for i, frame in enumerate(frames):
        suffix = "_global" if i == 0 else ""
        query, keys, values = (
            linear(tokens, projections[name + suffix]).unflatten(-1, (N, -1))
            for name in ("query", "key", "value")
        )
        seen = [j for j, other in enumerate(frames) if i == 0 or j == 0 or abs(frame - other) <= window / 2]
        heads = []
        for n in range(N):
            scores = torch.stack([query[i, n] @ keys[j, n] for j in seen]) / (D / N) ** 0.5
            weights = scores.exp() / scores.exp().sum()
            heads.append(sum(weight * values[j, n] for weight, j in zip(weights, seen, strict=True)))
        contexts.append(torch.cat(heads))
    return torch.stack(contexts)


def expected_states(case: Case) -> Tensor:
    """Returns the states (B, D) or (B, 3 · D) by loops; masked frames are simply left out."""
    states = []
    for clip in range(len(case.mask)):
        tokens, frames = embed(case, clip)
        for layer, window in zip(case.encoder.layers, case.windows, strict=True):
            contexts = attend(tokens, frames, layer.attention["self"], window)
            output = layer.attention["output"]
            tokens = layer_norm(tokens + linear(contexts, output["dense"]), output["LayerNorm"])
            hidden = linear(tokens, layer.intermediate["dense"])
            hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
            tokens = layer_norm(tokens + linear(hidden, layer.output["dense"]), layer.output["LayerNorm"])
        if case.encoder.pooling == "cls":
            states.append(tokens[0])
            continue
        mean = tokens[1:].mean(dim=0)
        deviation = (tokens[1:] - mean).square().mean(dim=0)
        # The root has no derivative at 0: below 1e-6, and for one frame alone, none is taken.
        deviation = deviation.clamp_min(1e-12).sqrt() if len(tokens) > 2 else torch.zeros_like(mean)
        states.append(torch.cat([tokens[0], mean, deviation]))
    return torch.stack(states)


@pytest.mark.parametrize("chunk", [1, 4, 1024])
@pytest.mark.parametrize("seed", range(12))
def test_states_and_gradients_are_those_of_loops(
    seed: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name, value in (
        (encoder_layer, "CHUNK", chunk),
        (temporal_encoder, "CHUNK", chunk),
        (attention, "BLOCK", min(chunk, 32)),
    ):
        monkeypatch.setattr(module, name, value)
    case = random_case(1000 * chunk + seed)
    case.features.requires_grad_()
    mask = case.mask if not case.mask.all() else None
    broken = case.features
    if mask is not None:  # what a frame that could not be decoded contains has no influence
        lost = ~mask.view(*mask.shape, *(1 for _ in broken.shape[2:]))
        broken = broken.masked_fill(lost, float("nan"))
    arguments = (case.cls_token, case.positions, mask)
    expected, found = expected_states(case), case.encoder(broken, *arguments)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(
            case.encoder(broken.detach().clone(), *arguments), expected, rtol=0, atol=1e-10
        )

    inputs = [case.features, *case.encoder.parameters()]
    direction = torch.randn_like(expected)
    gradients = [
        torch.autograd.grad((states * direction).sum(), inputs, allow_unused=True, materialize_grads=True)
        for states in (found, expected)
    ]
    for own, other in zip(*gradients, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-6, atol=1e-7)
