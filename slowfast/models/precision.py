"""In which number format the model computes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Precision:
    """Float32, or mixed precision with master weights in float32.

    Attributes:
        device_type: ``cpu`` or ``cuda``.
        dtype: the short format of matrix products; None for float32 throughout.
    """

    device_type: str = "cpu"
    dtype: torch.dtype | None = None

    def autocast(self) -> AbstractContextManager[object]:
        """The context for a forward pass."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype)

    def make_scaler(self) -> torch.amp.GradScaler:
        """Returns a gradient scaler; it does something only for float16, whose range gradients leave."""
        return torch.amp.GradScaler(self.device_type, enabled=self.dtype == torch.float16)

    def __str__(self) -> str:
        return "float32" if self.dtype is None else f"mixed, {str(self.dtype).removeprefix('torch.')}"


def choose_precision(*, mixed: bool, device: torch.device) -> Precision:
    """Float32, or when ``mixed``: bfloat16 on a CPU and on GPUs that have it, else float16."""
    if not mixed:
        return Precision(device.type)
    has_bfloat16 = device.type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)
    return Precision(device.type, torch.bfloat16 if has_bfloat16 else torch.float16)
