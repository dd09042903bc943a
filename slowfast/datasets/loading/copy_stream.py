"""Copies of frames and batches to an accelerator that run while it computes."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from slowfast.distributed.device import upload, uses_pinned_memory

_OF_THREAD = threading.local()


@dataclass(frozen=True)
class Upload:
    """A copy of a tensor to a device, which may still be in progress.

    Attributes:
        tensor: on the device.
        stream: on which it is copied; None: it is there.
    """

    tensor: Tensor
    stream: Any = None

    def result(self) -> Tensor:
        """Returns the tensor, for which the current stream of the device waits from now on, not the host."""
        if self.stream is not None:
            current = torch.get_device_module(self.tensor.device).current_stream(self.tensor.device)
            current.wait_stream(self.stream)
            self.tensor.record_stream(current)  # its memory is not used again before this stream is done
        return self.tensor


def start_upload(tensor: Tensor, device: torch.device) -> Upload:
    """Starts to copy a tensor of host memory to a device, on a stream of the calling thread.

    The copy waits neither for what the device computes, nor is it waited for by it, until
    :meth:`Upload.result` is called. The host waits only for the copy into page-locked memory.
    """
    if tensor.device.type != "cpu" or not uses_pinned_memory(device):
        return Upload(tensor.to(device))
    stream = _stream_of_thread(device)
    with torch.get_device_module(device).stream(stream):
        return Upload(upload(tensor, device), stream)


def copy_batch_tensor(tensor: Tensor, device: torch.device) -> Tensor:
    """Returns a tensor of a batch on a device.

    From page-locked memory it is copied on a stream of its own, while the device still computes the step
    before; neither the device nor the host waits. Other memory stays as the loader made it
    (``DATA_LOADER.PIN_MEMORY``): the host waits for its copy.
    """
    if tensor.is_pinned():
        return start_upload(tensor, device).result()
    return tensor.to(device, non_blocking=uses_pinned_memory(device))  # see `upload`


def _stream_of_thread(device: torch.device) -> Any:
    streams: dict[torch.device, Any] = _OF_THREAD.__dict__
    if device not in streams:
        streams[device] = torch.get_device_module(device).Stream(device)
    return streams[device]
