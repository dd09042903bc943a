"""Attention by matrix products in training in 16 bits, against float64 and torch's own kernel."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from slowfast.models.kernels import attention_products
from slowfast.models.kernels.attention_products import MAX_TOKENS, attend_by_products, attention_by_products
from slowfast.models.precision import Precision
from tests.support.processes import run_forked


def random_inputs(batch: int, heads: int, queries: int, keys: int, width: int = 8) -> tuple[Tensor, ...]:
    """Returns query, key and value in the layout of a layer that projects all three at once."""
    generator = torch.Generator().manual_seed(0)
    shape = (batch, max(queries, keys), 3, heads, width)
    query, key, value = torch.randn(shape, generator=generator).bfloat16().unbind(2)
    return query[:, :queries].transpose(1, 2), key[:, :keys].transpose(1, 2), value[:, :keys].transpose(1, 2)


def result_and_gradients(inputs: tuple[Tensor, ...], attend: Callable[..., Tensor]) -> list[Tensor]:
    """Returns the result and the gradients of query, key and value for a fixed gradient of the result."""
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    result = attend(*leaves)
    gradient = torch.randn(result.shape, generator=torch.Generator().manual_seed(1)).to(result.dtype)
    return [result.detach(), *torch.autograd.grad(result, leaves, gradient)]


def distance(some: Tensor, exact: Tensor) -> float:
    return float((some.double() - exact).norm() / exact.norm())


@settings(max_examples=30)
@given(
    batch=st.integers(1, 5), heads=st.integers(1, 3), queries=st.integers(1, 40), keys=st.integers(2, 40),
    scores_at_once=st.sampled_from([1, 2000, 1 << 20]),
)  # fmt: skip
def test_gradients_are_near_to_those_of_torch(
    batch: int, heads: int, queries: int, keys: int, scores_at_once: int
) -> None:
    inputs = random_inputs(batch, heads, queries, keys)
    of_torch = result_and_gradients(inputs, F.scaled_dot_product_attention)
    with pytest.MonkeyPatch.context() as patch, attention_by_products():
        patch.setattr(attention_products, "_SCORES_AT_ONCE", scores_at_once)
        products = result_and_gradients(inputs, F.scaled_dot_product_attention)
    assert torch.equal(products[0], of_torch[0])  # the forward pass is the same
    for one, other in zip(products[1:], of_torch[1:], strict=True):
        assert one.dtype == other.dtype
        assert distance(one, other.double()) < 0.03


@pytest.mark.parametrize(("deviation", "bound"), [(1.0, 0.008), (6.0, 0.025), (12.0, 0.045)])
def test_errors_against_float64_grow_with_the_scores(deviation: float, bound: float) -> None:
    """The bounds are 1.5 times the errors that the module's docstring states."""
    query, key, value = random_inputs(2, 2, 197, 197, width=64)
    inputs = (query * deviation, key, value)
    exact = result_and_gradients(tuple(x.double() for x in inputs), F.scaled_dot_product_attention)
    with attention_by_products():
        products = result_and_gradients(inputs, F.scaled_dot_product_attention)
    for one, truth in zip(products, exact, strict=True):
        assert distance(one, truth) < bound


@settings(max_examples=30)
@given(queries=st.integers(1, 20), keys=st.integers(1, 20), seed=st.integers(0, 99))
def test_masked_products_equal_attention(queries: int, keys: int, seed: int) -> None:
    inputs = tuple(x.double() for x in random_inputs(2, 2, queries, keys))
    allowed = torch.rand(2, 1, queries, keys, generator=torch.Generator().manual_seed(seed)) < 0.5
    allowed[..., 0] = True
    found = result_and_gradients(inputs, lambda *x: attend_by_products(*x, allowed))
    expected = result_and_gradients(inputs, lambda *x: F.scaled_dot_product_attention(*x, attn_mask=allowed))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_dropped_weights_are_scaled_up() -> None:
    torch.manual_seed(0)
    inputs = (torch.zeros(1, 1, 400, 4), torch.zeros(1, 1, 50, 4), torch.ones(1, 1, 50, 4))
    result = attend_by_products(*inputs, dropout=0.5)
    kept = result[..., 0] * 25  # a kept weight is 2 / 50
    torch.testing.assert_close(kept, kept.round())
    assert 24 < kept.mean() < 26


def test_which_calls_compute_by_products() -> None:
    """As they are stay other dtypes, many tokens, masks, other scales, and calls without gradients."""

    def name(inputs: tuple[Tensor, ...], **options: object) -> str:
        with attention_by_products():
            result = F.scaled_dot_product_attention(*(x.requires_grad_() for x in inputs), **options)  # type: ignore[arg-type]
        return type(result.grad_fn).__name__

    assert name(random_inputs(1, 1, 4, 4)) == "_ProductsBackward"
    assert name(random_inputs(1, 1, 4, 4), scale=8**-0.5) == "_ProductsBackward"
    assert name(random_inputs(1, 1, 4, MAX_TOKENS)) == "_ProductsBackward"
    for others in (
        name(random_inputs(1, 1, 4, MAX_TOKENS + 1)),
        name(random_inputs(1, 1, 4, 4), scale=1.0),
        name(random_inputs(1, 1, 4, 4), is_causal=True),
        name(random_inputs(1, 1, 4, 4), attn_mask=torch.ones(4, 4, dtype=torch.bool)),
        name(random_inputs(1, 1, 4, 4), dropout_p=0.5),
        name(tuple(x.float().detach() for x in random_inputs(1, 1, 4, 4))),
        name(tuple(x.half().detach() for x in random_inputs(1, 1, 4, 4))),
    ):
        assert others != "_ProductsBackward"
    with torch.no_grad():
        assert name(random_inputs(1, 1, 4, 4)) == "NoneType"


def test_inputs_that_autocast_would_cast_are_left_to_torch() -> None:
    query, key, value = (x.requires_grad_() for x in random_inputs(1, 1, 4, 4))
    with attention_by_products(), torch.autocast("cpu", torch.bfloat16):
        mixed = F.scaled_dot_product_attention(query, key, value.detach().float().requires_grad_())
        mixed.sum().backward()
        assert type(F.scaled_dot_product_attention(query, key, value).grad_fn).__name__ == "_ProductsBackward"
    with attention_by_products(), torch.autocast("cpu", torch.float16):
        other = F.scaled_dot_product_attention(query, key, value)
    assert other.dtype == torch.float16
    assert "_ProductsBackward" not in {type(r.grad_fn).__name__ for r in (mixed, other)}


def test_a_compiled_call_has_the_same_gradients() -> None:
    def compare() -> None:
        inputs = random_inputs(2, 2, 6, 6)
        # The function is looked up when it is called, as networks do.
        compiled = torch.compile(
            lambda *x: F.scaled_dot_product_attention(*x), backend="aot_eager", fullgraph=True
        )
        with attention_by_products():
            expected = result_and_gradients(inputs, F.scaled_dot_product_attention)
            found = result_and_gradients(inputs, compiled)
        for one, other in zip(found, expected, strict=True):
            assert distance(one, other.double()) < 0.02

    assert run_forked(compare) == 0  # a process that has compiled cannot be forked any more


def test_contexts_of_several_threads_end_in_any_order() -> None:
    original = F.scaled_dot_product_attention
    first, second = attention_by_products(), attention_by_products()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert F.scaled_dot_product_attention is not original
    second.__exit__(None, None, None)
    assert F.scaled_dot_product_attention is original


def test_only_a_processor_in_16_bits_is_helped() -> None:
    assert not isinstance(Precision("cpu", torch.bfloat16).fast_attention(), nullcontext)
    assert isinstance(Precision("cpu").fast_attention(), nullcontext)
    assert isinstance(Precision("cuda", torch.bfloat16).fast_attention(), nullcontext)


def test_a_recomputed_layer_has_the_same_gradients() -> None:
    """Activation checkpointing calls the forward pass again in the backward pass, within the same context."""
    inputs = random_inputs(2, 2, 6, 6)
    with attention_by_products():
        kept = result_and_gradients(inputs, F.scaled_dot_product_attention)
        recomputed = result_and_gradients(
            inputs, lambda *x: checkpoint(F.scaled_dot_product_attention, *x, use_reentrant=False)
        )
    for one, other in zip(kept, recomputed, strict=True):
        assert torch.equal(one, other)
