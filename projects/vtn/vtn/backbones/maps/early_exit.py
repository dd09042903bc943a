"""Outputs of modules inside a network, for which the modules behind them are not computed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class _Reached(Exception):  # noqa: N818 - the run ends as intended
    """Ends the run of a network at a module.

    An ``Exception``, since torch calls hooks with ``always_call``, which end autocast, for these only.

    Args:
        output: the module's output.
    """

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


@torch.compiler.disable(recursive=False)
def output_of(module: nn.Module, run: Callable[[], object]) -> Any:
    """Calls ``run`` until ``module`` has its output, and returns this output.

    Modules around ``module`` do not end normally: their forward hooks are called only with ``always_call``.
    ``module`` itself may be a unit of FSDP; a module around it must not be one.

    Raises:
        LookupError: if ``run`` does not call the module.
    """
    thread = threading.get_ident()

    # Compiled networks are compiled in the parts before and behind this call.
    @torch.compiler.disable
    def leave(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        # Another thread may use the same network for something else.
        if threading.get_ident() == thread:
            raise _Reached(output)

    # Registered last, after the hooks of FSDP and of frozen dtypes, whose output is wanted.
    handle = module.register_forward_hook(leave)
    try:
        run()
    except _Reached as reached:
        return reached.output
    finally:
        handle.remove()
    raise LookupError(f"{type(module).__name__} was not called")
