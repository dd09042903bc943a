"""Search of the best classifier of cached features, in minutes: linear baselines, then models.

The videos of the lists are divided into folds that keep groups together, such as clips of one source video.
The search fits linear classifiers of the features' statistics and trains settings of the configured project's
models, most of them on one or two folds, the better ones on all folds and with several seeds. It writes a
table with intervals (probe.json, probe.html) and the best setting (chosen.yaml) to OUTPUT_DIR, and states
whether the models beat the linear classifiers. After Ctrl-C the same command continues.

examples:
  the features that `slowfast extract` wrote with the same configuration
    slowfast probe --cfg SMALL_DATA DATA.PATH_TO_DATA_DIR data DATA.FEATURES cache \\
        OUTPUT_DIR output/probe

  those of `slowfast extract --checkpoint FILE`
    slowfast probe --cfg SMALL_DATA DATA.PATH_TO_DATA_DIR data DATA.FEATURES cache \\
        VTN.BACKBONE.CHECKPOINT FILE OUTPUT_DIR output/probe

  clips of one source video (name_001.mp4, name_002.mp4 …) stay in one fold; a test on test.csv
    slowfast probe --cfg SMALL_DATA --group-by '([^/]*)_[0-9]+[.]mp4$' --test \\
        DATA.PATH_TO_DATA_DIR data DATA.FEATURES cache OUTPUT_DIR output/probe

  then train the best setting, and predict with it
    slowfast run --cfg output/probe/chosen.yaml
    vtn predict video.mp4 --cfg output/probe/chosen.yaml \\
        --checkpoint output/probe/chosen/checkpoints/checkpoint_epoch_N.pyth  # N: the epochs of chosen.yaml
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from slowfast.cli.commands import make_parser
from slowfast.cli.options import add_config_arguments, integer_from, positive_integer
from slowfast.cli.run import set_thread_environment
from slowfast.errors import ConfigError
from slowfast.exit_status import run_command
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.log import setup_logging

PROGRAM = "slowfast probe"
METRICS = ("accuracy", "balanced_accuracy", "macro_f1")


def build_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = make_parser(__doc__, program, PROGRAM)
    add_config_arguments(parser)
    parser.add_argument(
        "--splits",
        nargs="+",
        choices=("train", "val"),
        default=["train", "val"],
        help="lists that are divided into folds (default: train val)",
    )
    parser.add_argument(
        "--test", action="store_true", help="test the best settings and the baselines on the test list"
    )
    parser.add_argument(
        "--group-by",
        default="",
        metavar="REGEX",
        help="regular expression that captures the group of a video from its path (default: the column of "
        "groups of the lists; without one each video is a group)",
    )
    parser.add_argument("--folds", type=integer_from(2), default=5, metavar="N", help="folds (default: 5)")
    parser.add_argument(
        "--seeds",
        type=positive_integer,
        default=3,
        metavar="N",
        help="seeds of the best settings (default: 3)",
    )
    parser.add_argument(
        "--candidates", type=positive_integer, default=40, metavar="N", help="settings to try (default: 40)"
    )
    parser.add_argument(
        "--limit", type=positive_integer, metavar="N", help="use about N random videos (default: all)"
    )
    parser.add_argument(
        "--metric",
        choices=METRICS,
        default=METRICS[0],
        help="by which settings are chosen (default: accuracy)",
    )
    parser.add_argument(
        "--workers",
        type=positive_integer,
        metavar="N",
        help="processes (default: one per core; on a GPU one)",
    )
    return parser


def main(argv: Sequence[str] | None = None, *, program: str = PROGRAM) -> int:
    """Runs the command line and returns the exit status."""
    parser = build_parser(program)
    args = parser.parse_intermixed_args(argv)
    set_thread_environment()

    def work() -> int:
        # Imported here, so that --help and wrong arguments are answered at once.
        from slowfast.config import load_config
        from slowfast.config.check_run import check_output

        switched = ["TRAIN.ENABLE", "True", "TEST.ENABLE", str(args.test)]
        cfg = load_config(args.cfg, [*args.overrides, *switched])
        if problems := [*check_output(cfg)]:
            raise ConfigError(*problems)
        from slowfast.probe.run import ProbeOptions, probe

        setup_logging(None)
        options = ProbeOptions(
            splits=tuple(args.splits),
            test=args.test,
            group_by=args.group_by,
            num_folds=args.folds,
            num_seeds=args.seeds,
            num_candidates=args.candidates,
            limit=args.limit or 0,
            metric=args.metric,
            workers=args.workers or 0,
        )
        try:
            with Interrupt() as interrupt:
                report = probe(cfg, options, interrupt)
        except Interrupted as interrupted:
            kept = "finished trainings are kept, the same command continues"
            raise Interrupted(interrupted.signum, kept) from None
        print(report.table())
        print("\n" + "\n".join(report.sentences()))
        print(f"\nreport: {cfg.OUTPUT_DIR}/probe.html\nbest setting: {cfg.OUTPUT_DIR}/chosen.yaml")
        return 0

    return run_command(parser.prog, work)


if __name__ == "__main__":
    sys.exit(main())
