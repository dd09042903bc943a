"""A GPU that is simulated in host memory, for the everyday tests of what would happen on a real one.

Torch's ``FakeTensorMode`` also knows devices without having them, but its tensors have no values, so that no
training step runs to its end. Here each tensor of the GPU has its values in a tensor of host memory, which
computes them. As on a real GPU,

* an operation of a tensor of the GPU with one of the CPU is an error, unless the latter is a number,
* a tensor of the GPU must be copied before NumPy reads it, and
* a generator of the CPU draws no numbers on the GPU.

An Apple GPU also has no float64, and no page-locked memory from which it could copy while the host continues.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

aten = torch.ops.aten
CPU = torch.device("cpu")
# The device of simulated tensors for torch's code in C++: autograd would ask a GPU for its streams.
_INTERNAL = torch.device("meta", 1)

# Copies between devices, and indices, which may be on the CPU.
_COPIES = {aten._to_copy.default, aten.copy_.default, aten._foreach_copy_.default}
_INDEXING = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}
# Operations that take no numbers of the CPU in place of tensors.
_WITHOUT_NUMBERS = {aten.cat.default, aten.stack.default, aten.mm.default, aten.bmm.default}

_present = torch.device("cuda", 0)


class SimulatedTensor(Tensor):
    """A tensor that says it is on the GPU.

    Attributes:
        values: in host memory.
    """

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> SimulatedTensor:
        made = Tensor._make_wrapper_subclass(
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=_INTERNAL,
        )
        made.values = values
        return made

    device = property(lambda self: _present)
    is_cuda = property(lambda self: _present.type == "cuda")
    is_mps = property(lambda self: _present.type == "mps")
    is_cpu = is_meta = property(lambda self: False)

    @property
    def data(self) -> Any:
        return super().data

    @data.setter
    def data(self, other: SimulatedTensor) -> None:  # as modules do it that are cast to another dtype
        self.values = other.values
        Tensor.data.__set__(self, other)  # type: ignore[attr-defined]

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the tensor itself where nothing changes, as ``torch`` does."""
        device, dtype, _, layout = torch._C._nn._parse_to(
            *args, **{k: v for k, v in kwargs.items() if k != "copy"}
        )
        stays = (
            device in (None, _present, torch.device(_present.type))
            and dtype in (None, self.dtype)
            and layout is None
        )
        return self if stays and not kwargs.get("copy") else super().to(*args, **kwargs)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __getitem__(self, index: Any) -> Any:
        # Torch 2.15 reads the memory of a tensor, which this one does not have, where the index is a list.
        return super().__getitem__(torch.tensor(index) if isinstance(index, list) else index)

    def record_stream(self, stream: object) -> None: ...

    def __repr__(self, *_: object, **__: object) -> str:
        return f"{self.values!r} on the simulated GPU"

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            copied = self.detach().clone()
            if isinstance(self, torch.nn.Parameter):
                copied = torch.nn.Parameter(copied, self.requires_grad)
            memo[id(self)] = copied
        return memo[id(self)]

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.scaled_dot_product_attention:  # its code in C++ asks for the kind of device
            return _attend(*args, **(kwargs or {}))
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


def _compute(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Computes an operation in host memory; its result is on the GPU where its inputs are, or it says so."""
    inputs, _ = tree_flatten((args, kwargs))
    on_gpu = [value for value in inputs if isinstance(value, SimulatedTensor)]
    wanted = next((value for value in inputs if isinstance(value, torch.device)), None)
    _check_devices(func, args, inputs, on_gpu, wanted)
    outer = {id(tensor.values): tensor for tensor in on_gpu}
    plain_args, plain_kwargs = tree_map(_to_host, (args, kwargs))
    result = func(*plain_args, **plain_kwargs)
    is_on_gpu = bool(on_gpu) if wanted is None else _is_gpu(wanted)
    given = {id(value) for value in inputs if isinstance(value, Tensor)}

    def place(value: Any) -> Any:
        if not isinstance(value, Tensor) or id(value) in given:
            return value
        if id(value) in outer or not is_on_gpu:
            return outer.get(id(value), value)
        _check_abilities(func, value, is_read_later=not on_gpu and bool(kwargs.get("non_blocking")))
        return SimulatedTensor(value)

    return tree_map(place, result)


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """Computes attention by products; other arguments of torch's function are not known here."""
    assert not is_causal
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    weights = functional.dropout(scores.softmax(-1), dropout_p)
    return weights @ value


def _to_host(value: Any) -> Any:
    if isinstance(value, SimulatedTensor):
        return value.values
    return CPU if isinstance(value, torch.device) and _is_gpu(value) else value


def _is_gpu(device: torch.device) -> bool:
    return device.type == _present.type or device == _INTERNAL


def _check_devices(
    func: Any,
    args: tuple[Any, ...],
    inputs: list[Any],
    on_gpu: list[SimulatedTensor],
    wanted: torch.device | None,
) -> None:
    """Raises what torch raises for tensors and generators of different devices."""
    generator = next((value for value in inputs if isinstance(value, torch.Generator)), None)
    if generator is not None and (on_gpu or (wanted is not None and _is_gpu(wanted))):
        raise RuntimeError(f"Expected a '{_present.type}' device type for generator but found 'cpu'")
    if not on_gpu or func in _COPIES:
        return
    checked = inputs
    if func in _INDEXING:  # indices may be on the CPU
        checked = tree_flatten((args[0], args[2:]))[0]
    of_cpu = [v for v in checked if isinstance(v, Tensor) and not isinstance(v, SimulatedTensor)]
    least = 0 if func in _WITHOUT_NUMBERS else 1
    if wrong := [value for value in of_cpu if value.ndim >= least]:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but {func} got one of shape "
            f"{tuple(wrong[0].shape)} on the CPU"
        )


def _check_abilities(func: Any, value: Tensor, *, is_read_later: bool) -> None:
    """Raises an error for what an Apple GPU cannot do, or gives other values for.

    Args:
        is_read_later: whether the host does not wait until the GPU has read it.
    """
    if _present.type == "mps" and (value.dtype == torch.float64 or is_read_later):
        raise TypeError(f"{func} on mps: {'read after the call' if is_read_later else 'float64'}")


class _Stream:
    """A stream whose work is done at once."""

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device or _present

    def wait_stream(self, other: _Stream) -> None: ...

    def is_capturing(self) -> bool:
        return False


@contextmanager
def simulated_gpu(kind: str = "cuda") -> Iterator[torch.device]:
    """Lets torch have one GPU of a kind, ``cuda`` or ``mps``, while the block runs; yields it."""
    everywhere = {
        sys.modules[__name__]: {"_present": torch.device(kind, 0)},
        torch.cuda: {
            "_lazy_init": lambda: None,
            "_lazy_call": lambda *_, **__: None,
            "Stream": _Stream,
            "stream": lambda stream: nullcontext(),
            "current_stream": _Stream,
            "synchronize": lambda *_: None,
            "get_device_name": lambda *_: "simulated GPU",
            "is_tf32_supported": lambda: False,
            "mem_get_info": lambda *_: (2**36, 2**36),
        },
        torch.mps: {"synchronize": lambda: None},
        torch.backends.mps: {"is_macos_or_newer": lambda *_: False},  # without bfloat16: nothing is cast here
        torch.accelerator: {
            "device_count": lambda: 1,
            "current_accelerator": lambda *_, **__: torch.device(kind),
            "current_stream": _Stream,
            "set_device_index": lambda *_: None,
        },
        Tensor: {"pin_memory": _pin, "is_pinned": lambda tensor: hasattr(tensor, "pinned")},
    }
    run_thread = threading.Thread.run

    def run_thread_with_gpu(thread: threading.Thread) -> None:
        with _Mode():  # modes belong to their thread
            run_thread(thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "run", run_thread_with_gpu)
        for owner, members in everywhere.items():
            for name, member in members.items():
                patch.setattr(owner, name, member)
        before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(values, device=…) is seen by the mode
        try:
            with _Mode():
                yield _present
        finally:
            torch._C._set_only_lift_cpu_tensors(before)


def _pin(tensor: Tensor) -> Tensor:
    if hasattr(tensor, "pinned"):
        return tensor
    pinned = tensor.clone()
    pinned.pinned = True  # type: ignore[attr-defined]
    return pinned
