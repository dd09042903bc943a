#!/usr/bin/env python3
"""Runs one of the benchmarks in ``benchmarks/``."""

from __future__ import annotations

import argparse
import ast
import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = """examples:
  python tools/benchmark.py temporal
  python tools/benchmark.py temporal --help
  python tools/benchmark.py temporal --json temporal.json
"""


def benchmark_files() -> dict[str, Path]:
    """Returns name -> file of all benchmarks; a name has dashes where its file has underscores."""
    files = sorted((ROOT / "benchmarks").glob("[!_]*.py"))
    return {file.stem.replace("_", "-"): file for file in files if file.stem != "measure"}


def main(argv: list[str]) -> int:
    files = benchmark_files()
    summaries = {
        name: (ast.get_docstring(ast.parse(file.read_text())) or "").split("\n")[0]
        for name, file in files.items()
    }
    listing = "\n".join(f"  {name:<14}{summary}" for name, summary in summaries.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\n\nbenchmarks:\n{listing}",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=files, metavar="NAME", help="one of the above")
    if not argv or argv[0] not in files:
        parser.parse_args(argv)  # prints the help or the error, and leaves
    sys.path.insert(0, str(ROOT))
    module = importlib.import_module(f"benchmarks.{files[argv[0]].stem}")
    own = argparse.ArgumentParser(
        prog=f"benchmark.py {argv[0]}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(own)
    own.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    args = own.parse_args(argv[1:])
    report = module.run(args)
    print(report)
    if args.json:
        report.write_json(args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
