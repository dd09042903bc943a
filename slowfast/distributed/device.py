"""The devices on which a process computes: their choice, and all that differs between a GPU and the CPU.

An *accelerator* is a device of the kind that torch was built for: CUDA or ROCm (``cuda``), Apple (``mps``) or
Intel (``xpu``). Other modules ask this one and compare no names of devices themselves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from slowfast.distributed.host import keep_freed_memory, usable_cores
from slowfast.errors import ConfigError, DeviceError, counted, first_line

CPU = torch.device("cpu")

# Kinds of accelerators of which several processes can each have one, and of those that read page-locked host
# memory while the host continues.
_WITH_COLLECTIVES = _WITH_PINNED_MEMORY = ("cuda", "xpu")
# Kinds of devices on which one kernel can update all parameters.
_WITH_FUSED_OPTIMIZERS = ("cpu", "cuda", "xpu")
# Kinds of accelerators without float64.
_WITHOUT_FLOAT64 = ("mps",)
# Text of torch's errors of full memory that are of no type of their own.
_OUT_OF_MEMORY = ("DefaultCPUAllocator", "MPS backend out of memory")


def count_accelerators() -> int:
    """Returns the number of accelerators that this process sees; 0 where it has only the CPU."""
    return torch.accelerator.device_count()


def accelerator(index: int) -> torch.device:
    """Returns the accelerator of that number; at least one must be present."""
    kind = torch.accelerator.current_accelerator()
    assert kind is not None
    return torch.device(kind.type, index)


def choose_device(num_gpus: int) -> torch.device:
    """Returns the device of a program of one process: the first accelerator if there is one, else the CPU.

    Args:
        num_gpus: ``NUM_GPUS``; 0 means the CPU.
    """
    return accelerator(0) if num_gpus > 0 and count_accelerators() > 0 else CPU


def choose_rank_device(num_gpus: int, *, local_rank: int, local_size: int) -> tuple[torch.device, str]:
    """Returns the device of one of the processes that another program has started, and a warning or ''.

    That program may show each process its own GPU only (``srun --gpus-per-task=1``, one container per GPU),
    or all GPUs of the node to every process (``torchrun``).

    Args:
        num_gpus: ``NUM_GPUS``; 0 means the CPU.
        local_rank, local_size: number of this process on its node, and of all processes there.

    Raises:
        ConfigError: for more than one visible GPU, but fewer than there are processes.
    """
    if num_gpus <= 0:
        return CPU, ""
    visible = count_accelerators()
    if visible == 0:
        return CPU, f"NUM_GPUS is {num_gpus}, but this process sees no GPU: using the CPU"
    device = accelerator(0 if visible == 1 else local_rank)
    if local_size > 1 and device.type not in _WITH_COLLECTIVES:
        return CPU, f"NUM_GPUS is {num_gpus}, but {device.type} serves one process only: using the CPU"
    if 1 < visible < local_size:
        raise ConfigError(
            f"NUM_GPUS = {num_gpus}: the node has {local_size} processes, but this one sees {visible} GPUs; "
            "start as many processes as there are GPUs, show each process one GPU, or use NUM_GPUS 0"
        )
    return device, ""


def collective_backends(device: torch.device, backend: str) -> str:
    """Returns the backends of a process group on that device, as ``init_process_group`` takes them.

    Args:
        backend: ``DIST_BACKEND``: ``nccl`` stands for the device's fastest, ``gloo`` for gloo everywhere.
    """
    if device.type not in _WITH_COLLECTIVES or backend == "gloo":
        return "gloo"
    if backend == "nccl":
        backend = dist.get_default_backend_for_device(device.type)
    return f"cpu:gloo,{device.type}:{backend}"


def set_matmul_precision(device: torch.device, precision: str) -> str:
    """Sets the precision of float32 products on an accelerator; returns it in words for the log, or "".

    Args:
        precision: as ``torch.set_float32_matmul_precision`` takes it. A CPU always computes them exactly.
    """
    if is_cpu(device):
        return ""
    torch.set_float32_matmul_precision(precision)
    # Convolutions have a switch of their own.
    torch.backends.cudnn.allow_tf32 = precision != "highest"
    allowed = precision != "highest" and device.type == "cuda" and torch.cuda.is_tf32_supported()
    return f"; float32 matrix products: {precision}" + (" (TensorFloat32)" if allowed else "")


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Lets an accelerator compute float32 products in float32 while the block runs.

    Settings that the user has made by torch's newer names (``fp32_precision``) stay as they are.
    """
    try:
        before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:  # torch's answer to both kinds of names
        before = None
    if is_cpu(device) or before is None:
        yield
        return
    set_matmul_precision(device, "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def use_device(device: torch.device) -> None:
    """Prepares this process for a device: makes an accelerator the current one, and tries it.

    For the CPU, makes the process keep freed memory, see :func:`keep_freed_memory`, and limits its threads,
    see :func:`limit_threads`.

    Raises:
        DeviceError: where it cannot be used, for instance because of the driver or of another process.
    """
    if is_cpu(device):
        keep_freed_memory()
        limit_threads()
        return
    try:
        use_device_in_thread(device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for the device
        raise DeviceError(
            f"{device} cannot be used ({first_line(error)}); check driver and other processes with the "
            "vendor's tool, or use NUM_GPUS 0 for the CPU"
        ) from error


def use_device_in_thread(device: torch.device) -> None:
    """Makes an accelerator the current one of the calling thread; in a new thread that is the first one.

    Kernels run on the device of their tensors in any case. But what asks for the current device would take
    memory of the first one in every process of a node.
    """
    if device.index is not None and device.type in _WITH_COLLECTIVES:
        torch.accelerator.set_device_index(device.index)


def is_cpu(device: torch.device) -> bool:
    """Returns whether the device is the CPU, whose tensors can be read without waiting."""
    return device.type == "cpu"


def uses_pinned_memory(device: torch.device) -> bool:
    """Returns whether copies to the device are faster from page-locked host memory."""
    return device.type in _WITH_PINNED_MEMORY and count_accelerators() > 0


def widest_float(device: torch.device) -> torch.dtype:
    """Returns float64, or float32 for a device without it."""
    return torch.float32 if device.type in _WITHOUT_FLOAT64 else torch.float64


def supports_bfloat16(device: torch.device) -> bool:
    """Returns whether the device computes matrix products in bfloat16 without emulation by float32.

    It is True for every CPU: those without the instructions are slow, but have no float16 either.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "mps":
        return torch.backends.mps.is_macos_or_newer(14, 0)
    return True


def has_fused_optimizers(device: torch.device) -> bool:
    """Returns whether torch's optimisers can update all parameters on the device by one kernel."""
    return device.type in _WITH_FUSED_OPTIMIZERS


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Returns a tensor of host memory on the device; the host waits for the copy to an Apple device alone.

    ``tensor.to(device)`` and ``torch.tensor(values, device=…)`` would wait until the device has finished all
    earlier work.
    """
    is_pinned = uses_pinned_memory(device)
    # Apple's devices read other memory after the call, when the tensor may be gone (torch's issue 189690).
    return (tensor.pin_memory() if is_pinned else tensor).to(device, non_blocking=is_pinned)


def synchronize(device: torch.device) -> None:
    """Waits until the device has finished all work that this process has given it; the CPU always has."""
    if not is_cpu(device):
        torch.get_device_module(device).synchronize()


def limit_threads() -> None:
    """Lowers the number of PyTorch's threads to that of the cores, unless ``OMP_NUM_THREADS`` sets it.

    PyTorch starts a thread per core of the node, also in a container that may use only some of their time.
    More threads than cores wait for each other.
    """
    if not os.environ.get("OMP_NUM_THREADS") and torch.get_num_threads() > (cores := usable_cores()):
        torch.set_num_threads(cores)


def describe_device(device: torch.device) -> str:
    """Returns the device and its name, or the number of threads and cores."""
    if is_cpu(device):
        threads, cores = counted(torch.get_num_threads(), "thread"), counted(usable_cores(), "core")
        return f"the CPU, {threads} on {cores}"
    name = getattr(torch.get_device_module(device), "get_device_name", None)
    return f"{device} ({name(device)})" if name else str(device)


def peak_memory(device: torch.device) -> int | None:
    """Returns the largest number of bytes that were allocated on an accelerator; None where none is counted.

    Apple's devices and the CPU count none.
    """
    peak = getattr(torch.get_device_module(device), "max_memory_allocated", None)
    return None if is_cpu(device) or peak is None else int(peak(device))


@contextmanager
def device_errors(device: torch.device, *remedies: str) -> Iterator[None]:
    """Replaces torch's errors of a full or failed device in its block by errors with a remedy.

    Args:
        remedies: settings that need less memory, the least harmful first.

    Raises:
        DeviceError: in place of ``torch.OutOfMemoryError``, ``torch.AcceleratorError``, and the errors of the
            allocators of the CPU and of Apple's devices.
    """
    try:
        yield
    except RuntimeError as error:
        if (known := as_device_error(error, device, *remedies)) is not None:
            raise known from error
        raise


def as_device_error(error: BaseException, device: torch.device, *remedies: str) -> DeviceError | None:
    """Returns the error that :func:`device_errors` raises in place of ``error``; None: none in its place."""
    is_out_of_memory = isinstance(error, torch.OutOfMemoryError)
    if is_out_of_memory or any(sign in str(error) for sign in _OUT_OF_MEMORY):
        return DeviceError(_describe_out_of_memory(device, remedies))
    if isinstance(error, torch.AcceleratorError):
        return DeviceError(
            f"{device} failed ({first_line(error)}). An assertion on the device is usually an index out "
            "of range, such as a label of MODEL.NUM_CLASSES or more; CUDA_LAUNCH_BLOCKING=1 shows where, "
            "and so does NUM_GPUS 0. Otherwise check the device's health with the vendor's tool"
        )
    return None


def _describe_out_of_memory(device: torch.device, remedies: Sequence[str]) -> str:
    """Returns what is full, how much of it was used, and what needs less."""
    if is_cpu(device):
        facts = "memory of the node is full"
    else:
        info = getattr(torch.get_device_module(device), "mem_get_info", None)  # Apple's devices lack it
        amounts = {"of memory": info and info(device)[1], "allocated at most": peak_memory(device)}
        known = [f"{size / 2**30:.2f} GiB {what}" for what, size in amounts.items() if size is not None]
        facts = f"memory of {describe_device(device)} is full" + (f": {', '.join(known)}" if known else "")
    return facts + ("; any of these needs less: " + "; ".join(remedies) if remedies else "")
