"""The trained network compiled by ``torch.compile``, with a fallback that names its reason."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from slowfast.errors import first_line
from slowfast.log import get_logger

logger = get_logger(__name__)


class CompiledNetwork(nn.Module):
    """A network whose forward and backward pass are compiled when it is called first.

    Other numbers of frames or clips compile it a few times more, then for any number. It shares the network's
    weights.

    Args:
        network: maps a batch to logits.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._call = torch.compile(network)
        logging.getLogger("torch._dynamo.convert_frame").addFilter(_log_limit)

    def forward(self, *inputs: Any) -> Any:
        return self._call(*inputs)

    def use_original(self, error: Exception) -> None:
        """Replaces the compiled code by the network itself, and logs why."""
        self._call = self.network
        cause = getattr(error, "inner_exception", error)
        logger.warning(
            "TRAIN.COMPILE True: the network cannot be compiled (%s: %s); training continues without",
            type(cause).__name__,
            first_line(cause),
        )


def _log_limit(record: logging.LogRecord) -> bool:
    """Logs that torch compiles no more, which it writes to stderr alone; keeps every record."""
    if "recompile_limit" in (message := record.getMessage()).partition("\n")[0]:
        reason = next((line.strip() for line in message.splitlines() if "last reason" in line), "")
        logger.warning(
            "TRAIN.COMPILE True: torch has compiled the network as often as it does; training continues "
            "without compilation for inputs of other kinds (%s)",
            reason,
        )
    return True


def is_compile_error(error: Exception) -> bool:
    """Returns whether ``torch.compile`` raised the error."""
    # Imported late: it takes a second, which only compiled networks need.
    from torch._dynamo.exc import TorchDynamoException

    return isinstance(error, TorchDynamoException)


def compiled_part(network: nn.Module) -> CompiledNetwork | None:
    """Returns the compiled network in a distributed one; None where none is compiled."""
    return next((module for module in network.modules() if isinstance(module, CompiledNetwork)), None)
