"""Functions that all benchmarks use: interleaved timing, peak memory, a report as table and JSON."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import functools
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import InitVar, asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from slowfast.distributed.device import choose_device, describe_device, is_cpu, synchronize
from slowfast.distributed.host import keep_freed_memory, set_malloc
from slowfast.errors import ConfigError
from slowfast.files import is_device, write_text
from slowfast.models.inference.processor import has_bfloat16
from slowfast.models.precision import choose_precision
from slowfast.visualization.text_table import align_columns

Result = TypeVar("Result")


@dataclass(frozen=True)
class Timing:
    """The seconds of each timed round of one candidate."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Returns the median over the rounds."""
        return statistics.median(self.seconds)

    @property
    def fastest(self) -> float:
        """Returns the seconds of the fastest round, the one that other programs have slowed down least."""
        return min(self.seconds)


def time_interleaved(
    candidates: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 5,
    warmup: int = 1,
    synchronize: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Times the candidates in turn, A B C A B C …, so that changes of speed affect all of them.

    Args:
        candidates: name -> a call without arguments.
        rounds: number of timed rounds.
        warmup: number of rounds before the timed ones.
        synchronize: called before each clock reading, for devices that compute asynchronously.
        clock: returns seconds. ``time.thread_time`` excludes other processes, for single-threaded candidates.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(warmup + rounds):
        for name, call in candidates.items():
            synchronize()
            begin = clock()
            call()
            synchronize()
            if number >= warmup:
                seconds[name].append(clock() - begin)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def time_by_size(
    candidates: Mapping[str, Callable[[], object]], tokens: int, args: argparse.Namespace
) -> dict[str, Timing]:
    """Times the candidates in turn, with fewer rounds for more tokens, but at least 3.

    Args:
        args: with ``rounds``, ``device`` and ``cpu_time`` (whether the CPU time of one thread counts).
    """
    return time_interleaved(
        candidates,
        rounds=min(args.rounds, max(3, 10_000 // tokens)),
        synchronize=synchronizing(args.device),
        clock=time.thread_time if args.cpu_time else time.perf_counter,
    )


def ratio(slower: Timing, faster: Timing) -> float:
    """Returns the speed-up of ``faster``: the median over the rounds of the ratio of seconds."""
    return statistics.median(a / b for a, b in zip(slower.seconds, faster.seconds, strict=True))


@contextlib.contextmanager
def use_cores(count: int) -> Iterator[None]:
    """Restricts this process, and processes that it starts, to ``count`` cores within a ``with`` block.

    Raises:
        ConfigError: where there are fewer cores.
    """
    before, threads = os.sched_getaffinity(0), torch.get_num_threads()
    if count > len(before):
        raise ConfigError(f"{count} cores are asked for: must be at most the {len(before)} of this process")
    os.sched_setaffinity(0, sorted(before)[:count])
    torch.set_num_threads(count)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        torch.set_num_threads(threads)


def keeping(call: Callable[[], Result]) -> Callable[[], Result]:
    """Returns the call with freed memory kept by the process, as in all programs of this project."""
    return lambda: (keep_freed_memory(), call())[1]


def trimming(call: Callable[[], Result]) -> Callable[[], Result]:
    """Returns the call with freed memory given back to the system, as in a program that changes nothing.

    The limits are those at which malloc arrives by itself after large tensors.
    """
    return lambda: (set_malloc(32 << 20, 64 << 20), call())[1]


def peak_memory(call: Callable[[], object], device: str = "cpu") -> int:
    """Returns the rise of the memory in use to its peak during ``call``, in bytes.

    It is the memory that torch has allocated on a GPU, and the process's resident memory on the CPU. There,
    memory that was freed before is returned to the system first, since ``call`` could otherwise reuse it
    without a rise.

    Raises:
        OSError: if the system cannot reset the peak; only Linux has ``/proc/self/clear_refs``.
    """
    if device != "cpu":
        synchronizing(device)()
        torch.accelerator.reset_peak_memory_stats()
        allocated = torch.accelerator.memory_allocated()
        call()
        synchronizing(device)()
        return torch.accelerator.max_memory_allocated() - allocated
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_bytes("VmRSS")
    call()
    return max(0, _status_bytes("VmHWM") - before)


def synchronizing(device: str) -> Callable[[], None]:
    """Returns a function that waits until the device has finished all work."""
    return functools.partial(synchronize, torch.device(device))


def _status_bytes(name: str) -> int:
    """Returns an entry of ``/proc/self/status`` in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")


def dtype_names(names: Sequence[str], device: str) -> list[str]:
    """Returns the names with a dtype for ``mixed``: bfloat16, or float16 where the device lacks it."""
    mixed = str(choose_precision("mixed", torch.device(device)).dtype).removeprefix("torch.")
    return [mixed if name == "mixed" else name for name in names]


def describe_machine() -> dict[str, str]:
    """Returns the conditions of the measurement: processor, instruction set, threads, versions."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        processor = names[0] if names else processor
    facts = {
        "processor": f"{processor}, {os.cpu_count()} cores",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    facts["bfloat16 instructions"] = "yes" if cpu_has_bfloat16() else "no"
    if not is_cpu(device := choose_device(1)):
        facts["gpu"] = describe_device(device)
    return facts


def cpu_has_bfloat16() -> bool:
    """Returns whether the processor has bfloat16 instructions; if not, torch emulates them slowly."""
    return has_bfloat16(torch.device("cpu"))


@dataclass
class BenchmarkReport:
    """The results of one benchmark, printed as a table and written as JSON.

    Attributes:
        title: one line.
        columns: keys of a row in the order of the table; a row may lack some.
        file: ``--json``; gets the report after each row, so that an interrupted benchmark has written its
            results. A device or a pipe, which cannot be replaced, gets it once at the end.
        rows: values; the table shows floats with three significant digits, JSON has all digits.
        notes: explanations of the columns.
        machine: see :func:`describe_machine`.
    """

    title: str
    columns: Sequence[str]
    file: InitVar[str | None]
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: dict[str, str] = field(default_factory=describe_machine)

    def __post_init__(self, file: str | None) -> None:
        self._file = file if file and not is_device(Path(file)) else None

    def add(self, **row: Any) -> None:
        """Adds a row, and prints it on stderr."""
        self.rows.append(row)
        cells = (f"{name}: {text_of_cell(row[name])}" for name in self.columns if name in row)
        print("  done:", ", ".join(cells), file=sys.stderr)
        if self._file:
            self.write_json(self._file)

    def __str__(self) -> str:
        cells = [[text_of_cell(row.get(name)) for name in self.columns] for row in self.rows]
        header, *lines = align_columns([self.columns, *cells])
        machine = "  ".join(f"{key}: {value}" for key, value in self.machine.items())
        return "\n".join([self.title, machine, "", header, "-" * len(header), *lines, "", *self.notes])

    def write_json(self, path: str | Path) -> None:
        """Writes all attributes as JSON."""
        write_text(path, json.dumps(asdict(self), indent=2) + "\n")


def text_of_cell(value: Any) -> str:
    """Returns the text of a table cell."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)
