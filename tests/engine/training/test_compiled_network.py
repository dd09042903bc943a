"""Compiled training takes the same steps, and continues without compilation where that fails."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.exc import BackendCompilerFailed

from slowfast.engine.run import run
from slowfast.engine.training.compiled_network import CompiledNetwork
from tests.support.run_results import losses_of
from tests.support.tiny import Tiny, tiny_config

# Compiled code draws other random numbers for dropout.
THREE = ("TRAIN.MAX_STEPS", 3, "MODEL.DROPOUT_RATE", 0.0)


def failing(error: Exception) -> Any:
    """Returns a function in place of ``torch.compile``, whose networks raise the error."""

    def fail(*inputs: Tensor) -> Tensor:
        raise error

    return lambda network: fail


@pytest.fixture
def plain(colour_videos: Path, tmp_path: Path) -> list[float]:
    """Losses of three steps without compilation."""
    assert run(tiny_config(colour_videos, tmp_path / "plain", *THREE)) == 0
    return losses_of(tmp_path / "plain")


def test_a_network_that_cannot_be_compiled_is_trained_as_it_is(
    plain: list[float], colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = BackendCompilerFailed("inductor", RuntimeError("no C++ compiler"), None)
    monkeypatch.setattr(torch, "compile", failing(error))
    assert run(tiny_config(colour_videos, tmp_path / "run", *THREE, "TRAIN.COMPILE", True)) == 0
    log = (tmp_path / "run" / "stdout.log").read_text()
    assert "cannot be compiled (RuntimeError: no C++ compiler); training continues without" in log
    assert losses_of(tmp_path / "run") == plain


def test_the_log_names_the_reason_for_which_torch_stops_compiling(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Torch compiles a function eight times, then writes to stderr alone that it will not do so again."""

    class Changing(nn.Module):
        name = ""

        def forward(self, x: Tensor) -> Tensor:
            return x + len(self.name)

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    changing = Changing()
    network = CompiledNetwork(changing)
    for number in range(12):
        changing.name = "a" * number
        assert network(torch.zeros(1)).item() == number
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("slowfast")]
    assert "training continues without compilation for inputs of other kinds" in line
    assert "self.name ==" in line


def test_errors_of_the_network_itself_end_the_run(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", failing(ZeroDivisionError("own error")))
    with pytest.raises(ZeroDivisionError, match="own error"):
        run(tiny_config(colour_videos, tmp_path, *THREE, "TRAIN.COMPILE", True))


@pytest.mark.faults
def test_a_compiled_network_takes_the_same_steps(
    plain: list[float], colour_videos: Path, tmp_path: Path
) -> None:
    """In the slow tests, since compilation takes half a minute."""
    assert run(tiny_config(colour_videos, tmp_path / "run", *THREE, "TRAIN.COMPILE", True)) == 0
    assert "cannot be compiled" not in (tmp_path / "run" / "stdout.log").read_text()
    assert losses_of(tmp_path / "run") == pytest.approx(plain, rel=1e-4)


def test_the_weights_are_those_of_the_network() -> None:
    model = Tiny()
    assert [*CompiledNetwork(model).parameters()] == [*model.parameters()]
