"""What all benchmarks share: interleaved timing, peak memory, a report as table and JSON."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Timing:
    """Seconds of each counted round of one candidate."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def time_interleaved(
    candidates: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 5,
    warmup: int = 1,
    synchronize: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Times the candidates in turn, A B C A B C …, so that a drifting machine drifts for all of them.

    Args:
        candidates: name -> a call without arguments.
        rounds: counted rounds.
        warmup: rounds before them that are not counted.
        synchronize: called before each clock reading, for devices that work asynchronously.
        clock: seconds; ``time.thread_time`` where one thread works on a machine that others use too.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(warmup + rounds):
        for name, call in candidates.items():
            synchronize()
            begin = clock()
            call()
            synchronize()
            if turn >= warmup:
                seconds[name].append(clock() - begin)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def ratio(slower: Timing, faster: Timing) -> float:
    """Returns how many times as fast ``faster`` is: the median of the ratios round by round."""
    return statistics.median(a / b for a, b in zip(slower.seconds, faster.seconds, strict=True))


def peak_memory(call: Callable[[], object]) -> int:
    """Returns by how many bytes the process's resident memory rose at its peak during ``call``.

    What earlier work freed is given back to the system first, so that it cannot hide what ``call`` takes.

    Raises:
        OSError: where the system cannot reset the peak (it is Linux's ``/proc/self/clear_refs``).
    """
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_bytes("VmRSS")
    call()
    return max(0, _status_bytes("VmHWM") - before)


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")


def describe_machine() -> dict[str, str]:
    """Returns what a reader needs to place the figures: processor, instructions, threads, versions."""
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
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; where it does not, torch emulates it slowly."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    return any(name in flags for name in ("avx512_bf16", "amx_bf16", "bf16 "))


@dataclass
class Report:
    """Rows of one benchmark, printed as a table and written as JSON.

    Attributes:
        title: one line.
        columns: keys of a row in the order to print; a row may lack some.
        rows: values; floats are printed with three significant digits, JSON holds them whole.
        notes: what a reader must know to read the figures rightly.
        machine: see :func:`describe_machine`.
    """

    title: str
    columns: Sequence[str]
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: dict[str, str] = field(default_factory=describe_machine)

    def add(self, **row: Any) -> None:
        """Adds a row and says it on stderr, so that a long benchmark that is cut off loses nothing."""
        self.rows.append(row)
        said = (f"{name}: {_text(row[name])}" for name in self.columns if name in row)
        print("  done:", ", ".join(said), file=sys.stderr)

    def __str__(self) -> str:
        cells = [[_text(row.get(name)) for name in self.columns] for row in self.rows]
        widths = [
            max(len(line[i]) for line in [list(self.columns), *cells]) for i in range(len(self.columns))
        ]
        lines = [self.title, "  ".join(f"{key}: {value}" for key, value in self.machine.items()), ""]
        for line in [list(self.columns), ["-" * width for width in widths], *cells]:
            lines.append("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
        return "\n".join([*lines, "", *self.notes])

    def write_json(self, path: str | Path) -> None:
        Path(path).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)
