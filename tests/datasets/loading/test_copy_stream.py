"""Copies to an accelerator on streams of their own, by a stand-in for the accelerator."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from slowfast.datasets.loading import copy_stream
from slowfast.datasets.loading.copy_stream import copy_batch_tensor, start_upload
from slowfast.distributed import device
from tests.support.training.steps import random_batch

DEVICE = torch.device("meta")


@dataclass(eq=False)
class Stream:
    """A stand-in for a stream, which notes what happens."""

    events: list[str]

    def wait_stream(self, other: Stream) -> None:
        self.events.append("current waits for " + ("itself" if other is self else "the copy"))


@dataclass
class Accelerator:
    """A stand-in for ``torch.cuda``; tensors go to the device ``meta``."""

    events: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.main = Stream(self.events)

    def Stream(self, device: torch.device) -> Stream:  # noqa: N802 (torch's name)
        self.events.append("new stream")
        return Stream(self.events)

    def current_stream(self, device: torch.device) -> Stream:
        return self.main

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        self.events.append("copy begins")
        yield
        self.events.append("copy is queued")


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> Accelerator:
    stand_in = Accelerator()
    for module in (copy_stream, device):
        monkeypatch.setattr(module, "uses_pinned_memory", lambda device: device == DEVICE)
    monkeypatch.setattr(copy_stream, "_OF_THREAD", threading.local())
    monkeypatch.setattr(torch, "get_device_module", lambda device: stand_in)
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: stand_in.events.append("pinned") or tensor)
    to = Tensor.to

    def note_copy(tensor: Tensor, *place: Any, **options: Any) -> Tensor:
        stand_in.events.append(f"copy {options}")
        return to(tensor, *place, **options)

    monkeypatch.setattr(Tensor, "to", note_copy)
    monkeypatch.setattr(
        Tensor, "record_stream", lambda tensor, stream: stand_in.events.append("memory is kept for current")
    )
    return stand_in


def test_the_copy_is_waited_for_when_its_result_is_used(accelerator: Accelerator) -> None:
    upload = start_upload(torch.ones(2, 3), DEVICE)
    assert accelerator.events == [
        "new stream", "copy begins", "pinned", "copy {'non_blocking': True}", "copy is queued",
    ]  # fmt: skip
    accelerator.events.clear()

    result = upload.result()

    assert (result.device, result.shape) == (DEVICE, (2, 3))
    assert accelerator.events == ["current waits for the copy", "memory is kept for current"]


def test_each_thread_has_one_stream(accelerator: Accelerator) -> None:
    streams: list[Any] = []

    def copy_twice() -> None:
        streams.extend(start_upload(torch.ones(1), DEVICE).stream for _ in range(2))

    copy_twice()
    thread = threading.Thread(target=copy_twice)
    thread.start()
    thread.join()
    assert streams[0] is streams[1]
    assert streams[2] is streams[3]
    assert streams[0] is not streams[2]


def test_without_page_locked_memory_the_copy_is_plain(accelerator: Accelerator) -> None:
    tensor = torch.ones(2)
    assert start_upload(tensor, torch.device("cpu")).result() is tensor
    there = torch.ones(2, device=DEVICE)
    assert start_upload(there, DEVICE).result() is there
    assert accelerator.events == ["copy {}"] * 2


def test_a_pinned_batch_is_copied_on_a_stream_of_its_own(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the copy would begin only when the device has computed the step before."""
    monkeypatch.setattr(Tensor, "is_pinned", lambda tensor: tensor.device.type == "cpu")
    batch = random_batch(1)

    copied = batch.to(DEVICE)

    assert copied.frames.device == copied.label.device == DEVICE
    assert accelerator.events.count("copy begins") == 5
    assert accelerator.events.count("current waits for the copy") == 5


def test_a_batch_in_other_memory_is_not_pinned(accelerator: Accelerator) -> None:
    """``DATA_LOADER.PIN_MEMORY False`` is for machines that limit such memory."""
    copy_batch_tensor(torch.ones(2), DEVICE)
    assert accelerator.events == ["copy {'non_blocking': True}"]


def test_an_apple_gpu_has_read_a_tensor_when_its_upload_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would read the memory of a tensor that is gone by then: wrong values without an error."""
    calls: list[Any] = []
    monkeypatch.setattr(torch.Tensor, "to", lambda *_, **options: calls.append(options))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    device.upload(torch.ones(2), torch.device("mps", 0))
    copy_batch_tensor(torch.ones(2), torch.device("mps", 0))
    assert calls == [{"non_blocking": False}] * 2
