"""Packed linear layers compute the same as those that they stand for."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from slowfast.models.inference.processor import has_bfloat16
from slowfast.models.kernels import packed_linear
from slowfast.models.kernels.packed_linear import Product, pack_linears

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 7, 600])
def test_several_layers_become_one_product(rows: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    linears, x = [nn.Linear(24, 8), nn.Linear(24, 40)], torch.randn(2, rows, 24)

    product = Product(linears, dtype)(x)

    exact = torch.cat([linear(x) for linear in linears], dim=-1)
    assert product.dtype == dtype
    torch.testing.assert_close(product.float(), exact, rtol=0, atol=2e-2 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_applies_gelu(dtype: torch.dtype, onednn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not onednn:
        monkeypatch.setattr(packed_linear, "_onednn_linear_works", lambda dtype: False)
    torch.manual_seed(0)
    linear, x = nn.Linear(24, 40), torch.randn(2, 7, 24)

    result = Product([linear], dtype, gelu=True)(x)

    bound = 2e-2 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(result.float(), F.gelu(linear(x)), rtol=0, atol=bound)


@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_product_keeps_its_own_weights(bias: bool) -> None:
    linear, x = nn.Linear(6, 4, bias=bias), torch.randn(3, 6)
    product = Product([linear], torch.float32)
    before = linear(x)

    nn.init.zeros_(linear.weight)

    torch.testing.assert_close(product(x), before)


def test_a_product_is_copied_with_its_model() -> None:
    linear, x = nn.Linear(6, 4), torch.randn(3, 6)
    product = Product([linear], torch.float32)
    assert torch.equal(copy.deepcopy(product)(x), product(x))


def test_the_trial_of_the_kernel_draws_no_random_number_of_the_training() -> None:
    packed_linear._onednn_linear_works.cache_clear()
    linear = nn.Linear(2, 2)
    before = torch.get_rng_state()
    Product([linear], torch.float32)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.skipif(not has_bfloat16(CPU), reason="needs a processor with bfloat16 instructions")
def test_layers_with_bfloat16_weights_are_packed_and_give_the_same() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 8, bias=False)).to(torch.bfloat16)
    x = torch.randn(5, 16).to(torch.bfloat16)
    with torch.no_grad():
        before = network(x)

        assert pack_linears(network, torch.bfloat16) == 2

        torch.testing.assert_close(network(x), before, rtol=2**-7, atol=1e-3)


def test_layers_of_other_dtypes_stay_as_they_are() -> None:
    network = nn.Sequential(nn.Linear(4, 4))
    assert pack_linears(network, torch.float32) == 0
    assert pack_linears(network, torch.bfloat16) == 0, "the weights are float32"


def test_without_the_private_function_of_torch_products_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_linear, "_onednn_linear_works", lambda dtype: False)
    linear, x = nn.Linear(4, 4).to(torch.bfloat16), torch.randn(2, 4)

    assert pack_linears(nn.Sequential(linear), torch.bfloat16) == 0
    torch.testing.assert_close(Product([linear], torch.bfloat16)(x), linear(x.to(torch.bfloat16)))
