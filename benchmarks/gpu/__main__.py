"""Runs the tests marked ``gpu`` and short benchmarks, and writes their results: ``make gpu``.

Needs no network. Without a GPU the tests are skipped, and the benchmarks run on the CPU with small settings.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.gpu.measurements import run_benchmarks
from benchmarks.gpu.report import GpuReport
from benchmarks.gpu.tests import run_tests
from benchmarks.measure import describe_machine
from slowfast.distributed.device import choose_device, describe_device

# Fraction of the time for the tests; the benchmarks get what is left.
_TESTS_FRACTION = 0.6


def main() -> int:
    """Runs everything and returns 1 if something has failed, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("output/gpu"), help="folder of the results")
    parser.add_argument("--minutes", type=float, default=9.0, help="time for everything")
    args = parser.parse_args()
    start = time.monotonic()
    device = choose_device(1)
    print(f"device: {describe_device(device)}")
    args.output.mkdir(parents=True, exist_ok=True)

    report = GpuReport(describe_machine(), run_tests(args.output, args.minutes * 60 * _TESTS_FRACTION))
    for test in report.tests:
        if test.outcome == "failed":
            print(f"failed: {test.name}: {test.detail}")
    report.write(args.output)  # and after each benchmark: this process may be ended
    for measurement in run_benchmarks(args.output, device.type, until=start + args.minutes * 60):
        print(f"benchmark {measurement.name}: {measurement.outcome} {measurement.detail}")
        report.benchmarks.append(measurement)
        report.seconds = time.monotonic() - start
        report.write(args.output)
    print(report.as_markdown())
    print(f"results: {args.output / 'gpu.json'} and {args.output / 'gpu.md'}")
    return 1 if report.has_failed else 0


if __name__ == "__main__":
    sys.exit(main())
