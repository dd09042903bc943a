"""Short runs of the benchmarks of speed, each in a process of its own."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.commands import run_for


@dataclass(frozen=True)
class Plan:
    """One benchmark with settings for a GPU and smaller ones for a processor.

    Attributes:
        name: in the results.
        benchmark: its name for ``tools/benchmark.py``; it has an option ``--device``.
        on_gpu, on_cpu: its arguments, separated by spaces.
    """

    name: str
    benchmark: str
    on_gpu: str
    on_cpu: str


@dataclass(frozen=True)
class Measurement:
    """The result of one benchmark.

    Attributes:
        name: of the benchmark.
        outcome: ``measured``, ``failed`` or ``skipped``.
        seconds: duration.
        detail: the reason of a skip or failure, one line.
        report: title, rows and notes of the benchmark.
    """

    name: str
    outcome: str
    seconds: float = 0.0
    detail: str = ""
    report: dict[str, Any] = field(default_factory=dict)


# In the order of their importance: time may run out.
PLANS = (
    Plan(
        "temporal",
        "temporal",
        "--lengths 16 250 4096 65536 --training 16 250 --rounds 9",
        "--lengths 16 250 --training --dtypes float32 --rounds 3",
    ),
    Plan(
        "inference",
        "inference",
        "--frames 16 250 --rounds 5",
        "--backbone vit_tiny_patch16_224 --frames 8 --dtypes float32 --rounds 1",
    ),
    Plan(
        "extract",
        "extract",
        "--sources 340x256 --frames 128 --rounds 3",
        "--sources 340x256 --frames 8 --files 1 --backbones ResNet-50 --rounds 1",
    ),
    Plan(  # few shapes, since flex attention is compiled for each
        "flex attention",
        "temporal",
        "--against flex --lengths 250 4096 --training 4096 --dtypes mixed",
        "--against flex --lengths 250 --windows 18 --dtypes float32 --rounds 3",
    ),
    Plan(
        "scaling",
        "scaling",
        "--processes 1 --backbone vit_base_patch16_224 --frames 16 --batch-size 8",
        "--processes 1 --rounds 2",
    ),
)


# Messages of torch where a kernel cannot be built: Triton needs a C compiler and the headers of Python.
_NO_COMPILER = ("Failed to find C compiler", "InvalidCxxCompiler", "Python.h: No such file")


def run_benchmarks(output: Path, device: str, *, until: float) -> Iterator[Measurement]:
    """Yields the results of the benchmarks of ``PLANS``; those for which no time is left are skipped.

    Each has at most twice its equal share of the time that is left, so that a slow one leaves some to others.

    Args:
        output: folder, gets one JSON file and one log per benchmark.
        device: for ``--device``, such as ``cuda`` or ``cpu``.
        until: ``time.monotonic()`` at which the last one ends.
    """
    for index, plan in enumerate(PLANS):
        if (left := until - time.monotonic()) < 5:
            yield Measurement(plan.name, "skipped", detail="no time left")
        else:
            most = min(left, 2 * left / (len(PLANS) - index))
            arguments = plan.on_cpu if device == "cpu" else plan.on_gpu
            yield _run(plan.name, (plan.benchmark, *arguments.split(), "--device", device), output, most)


def _run(name: str, arguments: tuple[str, ...], output: Path, seconds: float) -> Measurement:
    stem = name.replace(" ", "_")
    result, log = output / f"{stem}.json", output / f"{stem}.log"
    for path in (result, log):
        path.unlink(missing_ok=True)
    command = [sys.executable, "tools/benchmark.py", *arguments, "--json", str(result.resolve())]
    start = time.monotonic()
    code = run_for(command, log, seconds)
    taken = time.monotonic() - start
    report = json.loads(result.read_text()) if result.exists() else {}  # perhaps only the first rows
    if code == 0:
        return Measurement(name, "measured", taken, report=report)
    shown = log.read_text()
    outcome, detail = "failed", (shown.strip().splitlines() or ["no output"])[-1]
    if code is None:
        detail = "not finished in time"
    elif any(sign in shown for sign in _NO_COMPILER):
        outcome, detail = "skipped", "torch.compile finds no compiler"
    return Measurement(name, outcome, taken, f"{detail} (see {log.name})", report)
