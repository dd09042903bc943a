"""Puts a run into the queue of a SLURM cluster through submitit; it comes back after a preemption.

Each machine has one task, which starts ``slowfast.cli.run`` there with its number and the place to meet.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slowfast.errors import SlowFastError
from slowfast.exit_status import EXIT_INTERRUPTED, run_command

# Exit codes of a run that was asked to stop and has saved its state.
_STOPPED = (EXIT_INTERRUPTED, 128 + signal.SIGTERM, 128 + signal.SIGUSR1)


class SubmitError(SlowFastError):
    """A run cannot be submitted, or a submitted one failed."""


class Machine:
    """What one machine of a submitted run does; submitit sends it there and calls it.

    Args:
        arguments: of ``slowfast.cli.run``.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = tuple(arguments)
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Runs this machine's part to its end; returns 0, or the code of a run that was stopped."""
        import submitit

        place = submitit.JobEnvironment()
        command = [sys.executable, "-m", "slowfast.cli.run", *self.arguments]
        if place.num_nodes > 1:
            # Two jobs on one machine must not meet.
            port = 20000 + int(place.raw_job_id) % 20000
            command += ["--num_shards", str(place.num_nodes), "--shard_id", str(place.node)]
            command += ["--init_method", f"tcp://{place.hostnames[0]}:{port}"]
        self._process = subprocess.Popen(command)
        while (code := self._process.poll()) is None:
            time.sleep(0.5)
        if code and code not in _STOPPED:
            raise SubmitError(f"machine {place.node} ended with status {code}; its output says why")
        return code

    def checkpoint(self) -> Any:
        """Called by submitit before the job's time ends or it is preempted: stops the run, queues it again.

        Returns:
            The submission that goes on, None when the run did not stop in order.
        """
        from submitit.helpers import DelayedSubmission

        process = self._process
        if process is None:  # it had not begun yet
            return DelayedSubmission(Machine(self.arguments))
        process.send_signal(signal.SIGUSR1)
        # `process.wait` may be under way in the interrupted main thread and cannot be entered twice.
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        stopped = ended is not None and ended.si_code == os.CLD_EXITED and ended.si_status in _STOPPED
        return DelayedSubmission(Machine(self.arguments)) if stopped else None

    def __getstate__(self) -> dict[str, Any]:
        return {"arguments": self.arguments, "_process": None}


def build_parser(examples: str = "") -> argparse.ArgumentParser:
    """Returns the parser of the command line, whose help shows ``examples``."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=1, help="machines")
    parser.add_argument("--gpus", type=int, default=8, help="GPUs of each; sets NUM_GPUS")
    parser.add_argument("--cpus", type=int, default=32, help="cores of each")
    parser.add_argument("--hours", type=float, default=24.0, help="time limit; the run goes on in a new job")
    parser.add_argument("--grace", type=int, default=120, help="seconds before it in which the run saves")
    parser.add_argument("--restarts", type=int, default=20, help="new jobs at most after a time limit")
    parser.add_argument("--name", default="train", help="of the job (default: train)")
    parser.add_argument("--partition")
    parser.add_argument("--sbatch", nargs="*", default=[], metavar="OPTION=VALUE", help="more for sbatch")
    parser.add_argument("--jobs", default="output/jobs", metavar="FOLDER", help="of the jobs' output")
    parser.add_argument("--cluster", choices=("slurm", "local"), default="slurm", help="local: this machine")
    parser.add_argument("--wait", action="store_true", help="until the run has ended")
    parser.add_argument("run", nargs=argparse.REMAINDER, metavar="-- --cfg …", help="for tools/run_net.py")
    return parser


def main(argv: Sequence[str] | None = None, *, examples: str = "") -> int:
    """Runs the command line and returns the exit status."""
    parser = build_parser(examples)
    args = parser.parse_args(argv)
    arguments = args.run[1:] if args.run[:1] == ["--"] else args.run
    if "--cfg" not in arguments:
        parser.error("give the run after --, such as: -- --cfg FILE.yaml DATA.PATH_TO_DATA_DIR data")

    def work() -> int:
        job = submit(args, [*arguments, "--opts", "NUM_GPUS", str(args.gpus)])
        print(f"job {job.job_id}; its output: {job.paths.stdout}, errors: {job.paths.stderr}")
        return job.result() if args.wait else 0

    return run_command(parser.prog, work)


def submit(args: argparse.Namespace, arguments: Sequence[str]) -> Any:
    """Submits the run and returns submitit's job.

    Raises:
        SubmitError: when submitit or SLURM is not there, or refuses.
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
            timeout_min=int(args.hours * 60),
            stderr_to_stdout=True,
            slurm_signal_delay_s=args.grace,
            slurm_additional_parameters=dict(option.split("=", 1) for option in args.sbatch),
            **({"slurm_partition": args.partition} if args.partition else {}),
        )
        return executor.submit(Machine(arguments))
    except (RuntimeError, ValueError, OSError) as error:
        raise SubmitError(f"cannot submit to {args.cluster}: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
