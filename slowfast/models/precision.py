"""The precision in which a model computes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from slowfast.distributed.device import supports_bfloat16


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
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype)

    def make_scaler(self) -> torch.amp.GradScaler:
        """Returns a gradient scaler, enabled only for float16, whose range is too small for gradients."""
        return torch.amp.GradScaler(self.device_type, enabled=self.dtype == torch.float16)

    def __str__(self) -> str:
        return "float32" if self.dtype is None else f"mixed, {str(self.dtype).removeprefix('torch.')}"


def choose_precision(*, mixed: bool, device: torch.device) -> Precision:
    """Returns float32, or if ``mixed`` bfloat16 where the device supports it and float16 elsewhere."""
    if not mixed:
        return Precision(device.type)
    return Precision(device.type, torch.bfloat16 if supports_bfloat16(device) else torch.float16)
