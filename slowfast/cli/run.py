"""Training and testing of a model, as a configuration describes them.

Pairs of KEY VALUE at the end change keys of the configuration. All keys with their defaults are listed in
slowfast/config/defaults and in the config of each project.
Exit status: 0 done, 1 the run failed, 2 the command or the configuration is wrong, 130 or 143 interrupted.

examples:
  train and test on the videos listed in data/kinetics/train.csv, val.csv and test.csv
    slowfast run --cfg VIT_B_VTN DATA.PATH_TO_DATA_DIR data/kinetics

  check a run first: a few steps with loading and without; prints time, memory and what limits the speed
    slowfast run --cfg VIT_B_VTN --dry-run DATA.PATH_TO_DATA_DIR data/kinetics

  test given weights, with five views per video
    slowfast run --cfg VIT_B_VTN DATA.PATH_TO_DATA_DIR data/kinetics \\
        TRAIN.ENABLE False TEST.CHECKPOINT_FILE_PATH weights.pyth \\
        TRAIN.EVAL_FULL_VIDEO False TEST.NUM_ENSEMBLE_VIEWS 5

  train two steps on a computer without GPU
    slowfast run --cfg VIT_B_VTN DATA.PATH_TO_DATA_DIR data/kinetics \\
        NUM_GPUS 0 TRAIN.BATCH_SIZE 2 TRAIN.MAX_STEPS 2 VTN.BACKBONE.PRETRAINED False

  train and test fold 0 of the lists that `slowfast prepare split --folds` has written to data/folds
    slowfast run --cfg VIT_B_VTN --fold 0 DATA.PATH_TO_DATA_DIR data/folds OUTPUT_DIR output/folds

  train on two nodes: this command on the first node, and with --shard_id 1 on the second
    slowfast run --cfg VIT_B_VTN --num_shards 2 --shard_id 0 \\
        --init_method tcp://10.0.0.1:9999 DATA.PATH_TO_DATA_DIR data/kinetics
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from slowfast.cli.commands import make_parser
from slowfast.cli.options import add_config_arguments
from slowfast.exit_status import exit_status_of, run_command

if TYPE_CHECKING:
    from fvcore.common.config import CfgNode

PROGRAM = "slowfast run"
# Seconds for the first process of a node to report a wrong configuration. When it has ended, torchrun ends
# the others; would one of them end before, torchrun would end the first.
_REPORT_SECONDS = 15.0


def build_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = make_parser(__doc__, program, PROGRAM)
    add_run_arguments(parser)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="build everything, run a few steps, print memory and time with and without loading",
    )
    return parser


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of every command that runs a configuration on one or several nodes."""
    add_config_arguments(parser)
    parser.add_argument("--num_shards", type=int, metavar="N", help="number of nodes; sets NUM_SHARDS")
    parser.add_argument("--shard_id", type=int, metavar="I", help="rank of this node, from 0; sets SHARD_ID")
    parser.add_argument(
        "--init_method",
        default="",
        metavar="URL",
        help="tcp://HOST:PORT of the first node; required with several nodes",
    )
    parser.add_argument(
        "--fold",
        type=int,
        metavar="K",
        help="use the lists in DATA.PATH_TO_DATA_DIR/fold_K, and write to OUTPUT_DIR/fold_K",
    )
    parser.add_argument(
        "--opts",
        nargs="*",
        action="extend",
        default=[],
        metavar="KEY VALUE",
        help="the same as the pairs at the end",
    )


def overrides_from(args: argparse.Namespace) -> list[str]:
    """Returns ``[KEY, VALUE, …]``, all changes that the arguments of :func:`add_run_arguments` ask for.

    Raises:
        ConfigError: for a fold whose lists do not exist, and for problems of the configuration.
    """
    overrides = [*args.opts, *args.overrides]
    for key, number in (("NUM_SHARDS", args.num_shards), ("SHARD_ID", args.shard_id)):
        if number is not None:
            overrides += [key, str(number)]
    return overrides if args.fold is None else [*overrides, *_fold_overrides(args.cfg, overrides, args.fold)]


def _fold_overrides(config: str, overrides: Sequence[str], fold: int) -> list[str]:
    """Returns the changes that make a run one of a fold."""
    from slowfast.config import load_config
    from slowfast.errors import ConfigError

    cfg = load_config(config, overrides, warn=False)
    data = os.path.join(cfg.DATA.PATH_TO_DATA_DIR, f"fold_{fold}")
    if not os.path.isdir(data):
        raise ConfigError(
            f"--fold {fold}: {data} must be a folder of lists; write folds with `slowfast prepare split "
            "--folds`, and give their folder as DATA.PATH_TO_DATA_DIR"
        )
    output = os.path.join(cfg.OUTPUT_DIR, f"fold_{fold}")
    # In quotes, since a path may look like a number.
    return ["DATA.PATH_TO_DATA_DIR", repr(data), "OUTPUT_DIR", repr(output)]


def load_run_config(args: argparse.Namespace, *, for_run: bool = False) -> CfgNode:
    """Loads the configuration that the arguments of :func:`add_run_arguments` describe.

    Of several processes of a node, which all have the same problems, only the first reports them.

    Raises:
        ConfigError: in the first process, where the configuration is wrong; the others exit with its status.
    """
    from slowfast.config import load_config
    from slowfast.errors import ConfigError

    is_first = os.environ.get("RANK", "0") == "0" and not args.shard_id
    try:
        return load_config(args.cfg, overrides_from(args), for_run=for_run, warn=is_first)
    except ConfigError as error:
        if "RANK" not in os.environ or os.environ.get("LOCAL_RANK", "0") == "0":
            raise
        time.sleep(_REPORT_SECONDS)
        raise SystemExit(exit_status_of(error)) from None


def set_thread_environment() -> None:
    """Sets variables that torch reads when it is imported, unless the user has set them."""
    # Loader workers share the cores with torch's threads, and threads that spin while they wait starve the
    # workers (on two cores a training step took 1.4 times as long).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Warnings of torch's network code would bury the error message that names the failed node.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def main(argv: Sequence[str] | None = None, *, program: str = PROGRAM) -> int:
    """Runs the command line and returns the exit status."""
    parser = build_parser(program)
    args = parser.parse_intermixed_args(argv)
    set_thread_environment()

    def work() -> int:
        # Imported after it, so that --help and wrong arguments are answered at once.
        cfg = load_run_config(args, for_run=True)
        from slowfast.engine.run import run

        return run(cfg, args.init_method, dry_run=args.dry_run)

    return run_command(parser.prog, work)


if __name__ == "__main__":
    sys.exit(main())
