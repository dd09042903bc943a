"""Exports and compiled models are told apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slowfast.tracing import is_exporting
from tests.support.processes import run_forked


class AddsOneInExports(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if is_exporting() else x


def test_a_model_that_is_only_called_is_not_exported() -> None:
    assert AddsOneInExports()(torch.zeros(2)).tolist() == [0, 0]


def test_an_exported_model_is() -> None:
    exported = torch.export.export(AddsOneInExports(), (torch.zeros(2),))
    assert exported.module()(torch.zeros(2)).tolist() == [1, 1]


def test_a_compiled_model_is_not() -> None:
    """The function of torch 2.11 is true there as well; attention in training then had no dropout."""

    def compile_and_call() -> None:
        compiled = torch.compile(AddsOneInExports(), backend="eager", fullgraph=True)
        assert compiled(torch.zeros(2)).tolist() == [0, 0]

    assert run_forked(compile_and_call) == 0  # a process that has compiled cannot be forked any more
