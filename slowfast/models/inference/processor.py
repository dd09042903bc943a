"""The processor's abilities that decide how a network computes fastest."""

from __future__ import annotations

from pathlib import Path

import torch

from slowfast.distributed.device import is_cpu, supports_bfloat16

# Images of 224 × 224 pixels per thread and pass. On a processor the activations of a few images stay in its
# caches; the numbers are the best of benchmarks/extract.py. A GPU needs many images to be busy.
_IMAGES_OF = {
    ("convolutional", 32): 4,
    ("convolutional", 16): 8,
    ("transformer", 32): 2,
    ("transformer", 16): 2,
}
_IMAGES_ON_GPU = 256
_PIXELS = 224 * 224
_MAX_IMAGES_PER_THREAD = 32


def has_bfloat16(device: torch.device) -> bool:
    """Returns whether the device has bfloat16 instructions; a processor without them is slow in bfloat16."""
    if not is_cpu(device):
        return supports_bfloat16(device)
    capabilities = getattr(torch.cpu, "get_capabilities", None)  # torch 2.10
    if capabilities is not None:
        found = capabilities()
        return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16"))
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    return any(name in flags for name in ("avx512_bf16", "amx_bf16", "bf16 "))


def images_per_pass(kind: str, pixels: int, device: torch.device, *, bits: int = 32) -> int:
    """Returns how many images should pass a network at once; on a processor by the number of torch's threads.

    Args:
        kind: ``convolutional`` or ``transformer``.
        pixels: H × W of an image.
        bits: width of the dtype of matrix products, 16 or 32.

    >>> threads = torch.get_num_threads()
    >>> images_per_pass("transformer", 224 * 224, torch.device("cpu")) // threads
    2
    >>> images_per_pass("convolutional", 96 * 96, torch.device("cpu"), bits=16) // threads
    32
    """
    if device.type not in ("cpu", "meta"):
        return max(1, _IMAGES_ON_GPU * _PIXELS // pixels)
    per_thread = min(_MAX_IMAGES_PER_THREAD, max(1, _IMAGES_OF[kind, bits] * _PIXELS // pixels))
    return per_thread * torch.get_num_threads()
