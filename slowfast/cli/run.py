"""The command line of a run: training and testing as a configuration says.

Parsing imports nothing heavy, so that ``--help`` and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from slowfast.exit_status import run_command

_EPILOG = """\
All keys with their defaults: slowfast/config/defaults.py and the projects' own.
Exit status: 0 done, 1 the run failed, 2 the command or the configuration is wrong, 130 or 143 interrupted.
"""


def build_parser(examples: str = "") -> argparse.ArgumentParser:
    """Returns the parser of the command line, whose help shows ``examples``."""
    parser = argparse.ArgumentParser(
        description="Trains and tests a video model as a configuration says.",
        epilog=examples + _EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--cfg",
        required=True,
        metavar="F",
        help="YAML file, or name of a shipped one",
    )
    parser.add_argument("--num_shards", type=int, metavar="N", help="machines of the run; sets NUM_SHARDS")
    parser.add_argument("--shard_id", type=int, metavar="I", help="which of them, from 0; sets SHARD_ID")
    parser.add_argument(
        "--init_method",
        default="",
        metavar="URL",
        help="where the machines meet, tcp://HOST:PORT of the first; needed with several machines",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only build everything and take a few steps on one batch; say what they take, write nothing",
    )
    parser.add_argument(
        "--opts",
        nargs="*",
        action="extend",
        default=[],
        metavar="KEY VALUE",
        help="the same as the pairs at the end",
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="keys to change")
    return parser


def overrides_of(args: argparse.Namespace) -> list[str]:
    """Returns the keys and values that the arguments of :func:`build_parser` change, one after another."""
    overrides = [*args.opts, *args.overrides]
    for key, number in (("NUM_SHARDS", args.num_shards), ("SHARD_ID", args.shard_id)):
        if number is not None:
            overrides += [key, str(number)]
    return overrides


def main(argv: Sequence[str] | None = None, *, examples: str = "") -> int:
    """Runs the command line and returns the exit status.

    Args:
        argv: arguments without the program's name; None: those of the process.
        examples: shown by ``--help``.
    """
    parser = build_parser(examples)
    args = parser.parse_intermixed_args(argv)
    overrides = overrides_of(args)

    # Loader workers share the cores with torch's threads, and threads that spin while they wait starve the
    # workers (on two cores a training step took 1.4 times as long). Must be set before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # What torch's network code has to say fills the terminal, and our own errors say it in words.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from slowfast.config import load_config

    is_first = os.environ.get("RANK", "0") == "0" and not args.shard_id

    def work() -> int:
        cfg = load_config(args.cfg, overrides, for_run=True, warn=is_first)
        from slowfast.engine.run import run

        return run(cfg, args.init_method, dry_run=args.dry_run)

    return run_command(parser.prog, work)


if __name__ == "__main__":
    sys.exit(main())
