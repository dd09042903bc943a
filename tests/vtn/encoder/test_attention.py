"""The attention functions of the encoder equal the reference implementation.

Shapes: B clips, T frames, S tokens, D width, N heads, E width of one head.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vtn.encoder.attention import BLOCK, band_attention, global_attention
from vtn.encoder.attention_reference import reference_attention

HEADS, HEAD_WIDTH = 2, 4
WIDTH = HEADS * HEAD_WIDTH
PROJECTIONS = ("query", "key", "value", "query_global", "key_global", "value_global")


def make_linears() -> nn.ModuleDict:
    return nn.ModuleDict({name: nn.Linear(WIDTH, WIDTH) for name in PROJECTIONS}).double()


def fast_frames(tokens: Tensor, linears: nn.ModuleDict, half: int, mask: Tensor | None) -> Tensor:
    """Returns the contexts of the frames (B, T, D) from tokens (B, 1 + T, D) with ``band_attention``."""
    q, k, v = (linears[name](tokens).unflatten(-1, (HEADS, HEAD_WIDTH)) for name in ("query", "key", "value"))
    frame_mask = None if mask is None else mask[:, 1:]
    return band_attention(
        q[:, 1:], k[:, 1:], v[:, 1:], k[:, 0], v[:, 0], half_window=half, key_mask=frame_mask
    )


def fast_cls(tokens: Tensor, linears: nn.ModuleDict, mask: Tensor | None, dropout: float = 0.0) -> Tensor:
    """Returns the context of [CLS] (B, D) from tokens (B, S, D) with ``global_attention``."""
    query = linears["query_global"](tokens[:, 0]).unflatten(-1, (HEADS, HEAD_WIDTH)) / HEAD_WIDTH**0.5
    context, _ = global_attention(
        query,
        tokens,
        linears["key_global"].weight.unflatten(0, (HEADS, HEAD_WIDTH)),
        linears["value_global"].weight.unflatten(0, (HEADS, HEAD_WIDTH)),
        linears["value_global"].bias.view(HEADS, HEAD_WIDTH),
        token_mask=mask,
        dropout=dropout,
    )
    return context


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("half", [1, 9, 70])
@pytest.mark.parametrize("frames", [1, 2, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 5])
def test_values_and_gradients_equal_the_reference(frames: int, half: int, masked: bool) -> None:
    """Covers one block and several, complete and incomplete blocks, halos wider than a block."""
    torch.manual_seed(frames)
    linears = make_linears()
    tokens = torch.randn(2, 1 + frames, WIDTH, dtype=torch.float64, requires_grad=True)
    mask = torch.ones(2, 1 + frames, dtype=torch.bool)
    if masked:
        mask = torch.rand(2, 1 + frames) < 0.7
        mask[:, 0] = True
    expected = reference_attention(tokens, linears, HEADS, half, mask)
    given = mask if masked else None
    cls = fast_cls(tokens, linears, given)
    actual = torch.cat([cls[:, None], fast_frames(tokens, linears, half, given)], dim=1)

    real = mask[..., None]  # outputs of masked tokens have no meaning
    torch.testing.assert_close(actual * real, expected * real)
    weight = torch.randn_like(expected) * real
    sources = [tokens, *linears.parameters()]
    for got, want in zip(
        torch.autograd.grad((actual * weight).sum(), sources, allow_unused=True),
        torch.autograd.grad((expected * weight).sum(), sources),
        strict=True,
    ):
        # The bias of the keys adds the same to all scores, so its gradient is 0; `got` is None for it.
        torch.testing.assert_close(torch.zeros_like(want) if got is None else got, want)


@pytest.mark.parametrize("half", [1, 9])
@pytest.mark.parametrize(
    "chunk", [(0, 2 * BLOCK), (0, 70), (2 * BLOCK, 4 * BLOCK), (200, 300), (500 - 2 * BLOCK, 500), (499, 500)]
)
def test_queries_of_a_span_get_the_same_context_as_in_the_full_sequence(
    chunk: tuple[int, int], half: int
) -> None:
    """Spans at both ends of the sequence have a halo on one side; whole blocks need no padding at the end."""
    torch.manual_seed(0)
    start, stop = chunk
    first = min(half, start)
    q, k, v = torch.randn(3, 1, 500, HEADS, HEAD_WIDTH)
    cls_key, cls_value = torch.randn(2, 1, HEADS, HEAD_WIDTH)
    full = band_attention(q, k, v, cls_key, cls_value, half_window=half)
    span = slice(start - first, stop + half)
    found = band_attention(
        q[:, start:stop], k[:, span], v[:, span], cls_key, cls_value, half_window=half, first=first
    )
    torch.testing.assert_close(found, full[:, start:stop])


def test_dropout_in_global_attention_also_drops_the_value_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    """The value projection is applied after the weighted sum, so its bias is scaled by the sum of weights."""
    torch.manual_seed(0)
    linears = make_linears()
    tokens = torch.randn(2, 6, WIDTH, dtype=torch.float64)
    kept = (torch.rand(2, HEADS, 6) < 0.5).double() * 2
    monkeypatch.setattr(F, "dropout", lambda weights, *_: weights * kept)
    heads = {name: linear(tokens).unflatten(-1, (HEADS, HEAD_WIDTH)) for name, linear in linears.items()}
    scores = torch.einsum("bne,bjne->bnj", heads["query_global"][:, 0], heads["key_global"])
    weights = (scores / HEAD_WIDTH**0.5).softmax(-1) * kept
    expected = torch.einsum("bnj,bjne->bne", weights, heads["value_global"]).flatten(1)
    torch.testing.assert_close(fast_cls(tokens, linears, None, dropout=0.5), expected)


def test_dropout_in_band_attention_does_not_change_the_mean() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 5, HEADS, HEAD_WIDTH)
    cls_key, cls_value = torch.randn(2, 1, HEADS, HEAD_WIDTH)

    def attend(draws: int, dropout: float) -> Tensor:
        same = [x.expand(draws, *x.shape[1:]) for x in (q, k, v, cls_key, cls_value)]
        return band_attention(*same, half_window=2, dropout=dropout)

    dropped = attend(20_000, 0.3)
    assert dropped[0].ne(dropped[1]).any()
    torch.testing.assert_close(dropped.mean(0), attend(1, 0.0)[0], atol=0.03, rtol=0)
