"""The precision in which a model computes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from fvcore.common.config import CfgNode

from slowfast.distributed.device import is_cpu, supports_bfloat16
from slowfast.errors import ConfigError
from slowfast.models.kernels.attention_products import attention_by_products


@dataclass(frozen=True)
class Precision:
    """Float32, or mixed precision with master weights in float32.

    Attributes:
        device_type: the kind of device, such as ``cpu`` or ``cuda``.
        dtype: the 16-bit dtype of matrix products; None: float32 throughout.
    """

    device_type: str = "cpu"
    dtype: torch.dtype | None = None

    def autocast(self) -> AbstractContextManager[object]:
        """Returns the context of a forward pass."""
        if self.dtype is None and not torch.amp.is_autocast_available(self.device_type):
            return nullcontext()
        # Float32 also where the caller's own autocast is on, as in a training of other code.
        return torch.autocast(self.device_type, dtype=self.dtype, enabled=self.dtype is not None)

    def fast_attention(self) -> AbstractContextManager[object]:
        """Returns the context of forward and backward pass in training."""
        is_helped = is_cpu(torch.device(self.device_type)) and self.dtype is not None
        return attention_by_products() if is_helped else nullcontext()

    def make_scaler(self) -> torch.amp.GradScaler:
        """Returns a gradient scaler, enabled only for float16, whose range is too small for gradients."""
        return torch.amp.GradScaler(self.device_type, enabled=self.dtype == torch.float16)

    def __str__(self) -> str:
        return "float32" if self.dtype is None else f"mixed, {str(self.dtype).removeprefix('torch.')}"


DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Name of a precision -> dtype of matrix products; None: float32 throughout."""


def build_precision(cfg: CfgNode, split: str, device: torch.device) -> Precision:
    """Returns the precision of a split: ``TRAIN.PRECISION``, in the test ``TEST.PRECISION`` where it is set.

    ``TRAIN.MIXED_PRECISION True`` is PySlowFast's name for ``TRAIN.PRECISION mixed``.

    Raises:
        ConfigError: for bfloat16 on a device that cannot compute it.
    """
    key, name = "TRAIN.PRECISION", "mixed" if cfg.TRAIN.MIXED_PRECISION else cfg.TRAIN.PRECISION
    if split == "test" and cfg.TEST.PRECISION:
        key, name = "TEST.PRECISION", cfg.TEST.PRECISION
    try:
        return choose_precision(name, device)
    except ValueError as error:
        raise ConfigError(f"{key} = 'bfloat16': {error}; use float16, mixed or float32") from error


def choose_precision(name: str, device: torch.device) -> Precision:
    """Returns the precision of that name; ``mixed``: bfloat16 where the device supports it, else float16.

    Raises:
        ValueError: for bfloat16 on a device that does not support it.
    """
    if name == "mixed":
        name = "bfloat16" if supports_bfloat16(device) else "float16"
    if name == "bfloat16" and not supports_bfloat16(device):
        raise ValueError(f"must be another dtype on this {device.type} device, which does not support it")
    return Precision(device.type, DTYPES[name])
