"""Submission of a run to a SLURM cluster; the run continues after a preemption.

The job is made by submitit. Each node has one task, which starts `slowfast run` with the node's rank and
the address of the first node. The arguments of the run follow --.

examples:
  two nodes of eight GPUs each
    slowfast submit --nodes 2 --partition gpu -- --cfg VIT_B_VTN \\
        DATA.PATH_TO_DATA_DIR data/kinetics OUTPUT_DIR output/k400

  the same job on this computer, without SLURM and without a GPU
    slowfast submit --cluster local --gpus 0 --wait -- --cfg QUICKSTART \\
        DATA.PATH_TO_DATA_DIR output/quickstart/data OUTPUT_DIR output/job SOLVER.MAX_EPOCH 1
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slowfast.cli.commands import make_parser
from slowfast.cli.options import integer_from, positive_integer, positive_number
from slowfast.errors import SlowFastError
from slowfast.exit_status import EXIT_INTERRUPTED, run_command

PROGRAM = "slowfast submit"
# Exit statuses of a run that was asked to stop and has saved its state, or had none yet.
_STOPPED = (EXIT_INTERRUPTED, 128 + signal.SIGTERM, 128 + signal.SIGUSR1)


class SubmitError(SlowFastError):
    """A run cannot be submitted, or a submitted run failed."""


class NodeTask:
    """The task of one node of a submitted run; submitit pickles it and calls it on the node.

    Args:
        arguments: arguments of `slowfast run`.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = tuple(arguments)
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Runs the node's processes to their end; returns 0, or the exit status of a run that was stopped.

        Raises:
            SubmitError: when the run failed.
        """
        import submitit

        job = submitit.JobEnvironment()
        command = [sys.executable, "-m", "slowfast.cli.run", *self.arguments]
        if job.num_nodes > 1:
            # The job's id gives the port, so that two jobs on one node do not connect to each other.
            port = 20000 + int(job.raw_job_id) % 20000
            command += ["--num_shards", str(job.num_nodes), "--shard_id", str(job.node)]
            command += ["--init_method", f"tcp://{job.hostnames[0]}:{port}"]
        # SLURM sends the signal before a time limit to all processes of the step. It would end the run, which
        # inherits this mask, so that only the task answers it; a signal to the task waits meanwhile.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        try:
            self._process = subprocess.Popen(command)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        while (code := self._process.poll()) is None:
            time.sleep(0.5)
        code = code if code >= 0 else 128 - code
        if code and code not in _STOPPED:
            raise SubmitError(
                f"node {job.node}: the run ended with status {code}; the job's output shows why"
            )
        return code

    def checkpoint(self) -> Any:
        """Stops the run and queues it again; submitit calls this before a time limit or a preemption.

        Returns:
            The submission that continues the run; None when the run did not stop in an orderly way.
        """
        from submitit.helpers import DelayedSubmission

        process = self._process
        if process is None:  # the run had not started yet
            return DelayedSubmission(NodeTask(self.arguments))
        process.send_signal(signal.SIGUSR1)
        # The main thread may be inside `process.poll`, which cannot be entered twice; `waitid` with WNOWAIT
        # leaves the exit status to it.
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None  # only with WNOHANG
        # A run that still starts is ended by the signal; there is nothing to save.
        code = ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status
        return DelayedSubmission(NodeTask(self.arguments)) if code in _STOPPED else None


def build_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = make_parser(__doc__, program, PROGRAM)
    parser.add_argument(
        "--nodes",
        type=positive_integer,
        default=1,
        metavar="N",
        help="number of nodes (default: %(default)s)",
    )
    parser.add_argument(
        "--gpus",
        type=integer_from(0),
        default=8,
        metavar="N",
        help="GPUs per node; sets NUM_GPUS (default: %(default)s)",
    )
    parser.add_argument(
        "--cpus",
        type=positive_integer,
        default=32,
        metavar="N",
        help="CPU cores per node (default: %(default)s)",
    )
    parser.add_argument(
        "--hours",
        type=positive_number,
        default=24.0,
        metavar="N",
        help="hours of a job, after which the run continues in a new job (default: %(default)g)",
    )
    parser.add_argument(
        "--grace",
        type=positive_integer,
        default=120,
        metavar="SECONDS",
        help="time before the time limit at which the run is asked to save (default: %(default)s)",
    )
    parser.add_argument(
        "--restarts",
        type=integer_from(0),
        default=20,
        metavar="N",
        help="largest number of new jobs after a time limit (default: %(default)s)",
    )
    parser.add_argument("--name", default="train", help="name of the job (default: %(default)s)")
    parser.add_argument("--partition", help="SLURM partition (default: the cluster's)")
    parser.add_argument(
        "--sbatch",
        type=_sbatch_option,
        nargs="*",
        default=[],
        metavar="OPTION=VALUE",
        help="further options of sbatch, without dashes",
    )
    parser.add_argument(
        "--jobs", default="output/jobs", metavar="FOLDER", help="folder of job output (default: %(default)s)"
    )
    parser.add_argument(
        "--cluster",
        choices=("slurm", "local"),
        default="slurm",
        help="local: this computer, without SLURM (default: slurm)",
    )
    parser.add_argument("--wait", action="store_true", help="wait until the run has ended")
    parser.add_argument("run", nargs=argparse.REMAINDER, metavar="-- --cfg …", help="arguments of the run")
    return parser


def _sbatch_option(text: str) -> tuple[str, str]:
    """Splits ``OPTION=VALUE``."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text}: must be OPTION=VALUE")
    return name, value


def main(argv: Sequence[str] | None = None, *, program: str = PROGRAM) -> int:
    """Runs the command line and returns the exit status."""
    parser = build_parser(program)
    args = parser.parse_args(argv)
    arguments = args.run[1:] if args.run[:1] == ["--"] else args.run
    if not any(argument.partition("=")[0] == "--cfg" for argument in arguments):
        parser.error("give the run after --, such as: -- --cfg FILE.yaml DATA.PATH_TO_DATA_DIR data")

    def work() -> int:
        job = submit(args, [*arguments, "--opts", "NUM_GPUS", str(args.gpus)])
        print(f"job {job.job_id}; output: {job.paths.stdout}")
        return job.result() if args.wait else 0

    return run_command(parser.prog, work)


def submit(args: argparse.Namespace, arguments: Sequence[str]) -> Any:
    """Submits a run and returns submitit's job.

    Args:
        args: options of :func:`build_parser`.
        arguments: arguments of `slowfast run`.

    Raises:
        SubmitError: when submitit or SLURM is missing, or refuses the job.
    """
    try:
        import submitit
    except ImportError:
        raise SubmitError("submitit is not installed: pip install submitit") from None
    try:
        executor = submitit.AutoExecutor(
            Path(args.jobs), cluster=args.cluster, slurm_max_num_timeout=args.restarts
        )
        executor.update_parameters(
            name=args.name,
            nodes=args.nodes,
            tasks_per_node=1,
            gpus_per_node=args.gpus,
            cpus_per_task=args.cpus,
            timeout_min=math.ceil(args.hours * 60),
            stderr_to_stdout=True,
            slurm_signal_delay_s=args.grace,
            slurm_additional_parameters=dict(args.sbatch),
            **({"slurm_partition": args.partition} if args.partition else {}),
        )
        return executor.submit(NodeTask(arguments))
    except (RuntimeError, ValueError, OSError) as error:
        raise SubmitError(f"the job cannot be submitted to {args.cluster}: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
