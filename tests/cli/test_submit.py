"""Runs as SLURM jobs; scripts replace the cluster's commands, and submitit runs jobs on this computer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from submitit import AutoExecutor, LocalJob

from slowfast.cli.submit import NodeTask, main

ROOT = Path(__file__).parents[2]
SBATCH = ROOT / "tools" / "slurm" / "vtn.sbatch"

# Starts the command once per node, forwards signals, exits with the highest status, as srun does.
SRUN = """#!{python}
import os, signal, subprocess, sys
command = sys.argv[1:]
while command[0].startswith("-"):
    del command[0]
nodes = int(os.environ["SLURM_NNODES"])
tasks = [subprocess.Popen(command, env={{**os.environ, "SLURM_NODEID": str(n)}}) for n in range(nodes)]
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda number, frame: [task.send_signal(number) for task in tasks])
sys.exit(max(task.wait() for task in tasks))
"""
SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then echo 127.0.0.1; echo other; else echo "$@" > requeued; fi
"""
# Replaces tools/run_net.py: writes its arguments to a file, and stops in an orderly way when it is asked to.
RUN_NET = """
import json, os, signal, sys, time
shard = sys.argv[sys.argv.index("--shard_id") + 1]
open(f"cores{shard}", "w").write(os.environ.get("SRUN_CPUS_PER_TASK", "none"))
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(138))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
json.dump(sys.argv[1:], open(f"started{shard}", "w"))
if "wait" in sys.argv:
    time.sleep(60)
"""


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Returns a function that starts the batch script in ``tmp_path``, like SLURM in a job of two nodes."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (("srun", SRUN.format(python=sys.executable)), ("scontrol", SCONTROL)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    variables = {
        "SLURM_JOB_ID": "31",
        "SLURM_CPUS_PER_TASK": "12",
        "SLURM_JOB_NODELIST": "m[1-2]",
        "SLURM_NNODES": "2",
    }
    environment = {**os.environ, **variables, "PYTHON": sys.executable}
    environment["PATH"] = f"{commands}:{os.environ['PATH']}"

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = ["bash", str(SBATCH), *arguments]
        with (tmp_path / "job.log").open("a") as log:
            return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, text=True)

    return start


@pytest.fixture
def replaced_run_net(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "run_net.py").write_text(RUN_NET)


def wait_for_file(path: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} was not written within {seconds} s"
        time.sleep(0.05)


def test_the_batch_script_needs_arguments(job: Callable[..., subprocess.Popen[str]]) -> None:
    subprocess.run(["bash", "-n", str(SBATCH)], check=True)
    assert job().wait(20) == 2


@pytest.mark.usefixtures("replaced_run_net")
def test_each_node_gets_its_rank_and_the_address_of_the_first(
    job: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    assert job("--cfg", "A B", "OUTPUT_DIR", "out").wait(30) == 0
    for shard in range(2):
        assert json.loads((tmp_path / f"started{shard}").read_text()) == [
            *("--num_shards", "2", "--shard_id", str(shard), "--init_method", "tcp://127.0.0.1:20031"),
            *("--cfg", "A B", "OUTPUT_DIR", "out"),
        ]
        assert (tmp_path / f"cores{shard}").read_text() == "12"
    assert not (tmp_path / "requeued").exists()


@pytest.mark.usefixtures("replaced_run_net")
@pytest.mark.parametrize(
    ("signum", "code", "continues"), [(signal.SIGUSR1, 138, True), (signal.SIGTERM, 143, False)]
)
def test_a_job_at_its_time_limit_is_queued_again_and_a_cancelled_job_is_not(
    job: Callable[..., subprocess.Popen[str]], tmp_path: Path, signum: int, code: int, continues: bool
) -> None:
    process = job("wait")
    for shard in range(2):
        wait_for_file(tmp_path / f"started{shard}")
    process.send_signal(signum)
    assert process.wait(30) == code
    assert (tmp_path / "requeued").exists() == continues


@pytest.mark.parametrize("run", [["--cfg", "VIT_B_VTN"], ["--cfg=VIT_B_VTN"]])
def test_a_part_of_a_minute_counts_as_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, run: list[str]
) -> None:
    submitted: list[AutoExecutor] = []

    def submit(executor: AutoExecutor, task: NodeTask) -> LocalJob[int]:
        submitted.append(executor)
        return LocalJob(tmp_path, "1")

    monkeypatch.setattr(AutoExecutor, "submit", submit)
    options = ["--cluster", "local", "--gpus", "0", "--jobs", str(tmp_path), "--hours", "0.01"]
    assert main([*options, "--", *run]) == 0
    assert submitted[0]._executor.parameters["timeout_min"] == 1
    assert capsys.readouterr().out == f"job 1; output: {tmp_path}/1_0_log.out\n"  # errors are there, too


# Replaces the run of a task: SLURM sends it the signal that is meant for the task, too.
RUN = """#!/bin/bash
cd "$(dirname "$0")"
{answer}
kill -USR2 $$
touch started
while true; do sleep 0.05; done
"""


@pytest.mark.parametrize(
    ("answer", "continues"),
    [
        ("", True),  # still starts: the signal ends it, and there is nothing to save
        ("trap 'exit 138' USR1", True),  # saves
        ("trap 'exit 1' USR1", False),  # fails while it saves
    ],
)
def test_a_task_is_queued_again_unless_its_run_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str, continues: bool
) -> None:
    run = tmp_path / "python"
    run.write_text(RUN.format(answer=answer))
    run.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(run))
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    task = NodeTask(["--cfg", "A"])
    with ThreadPoolExecutor(1) as executor:
        result = executor.submit(task)
        wait_for_file(tmp_path / "started", 20)
        assert (task.checkpoint() is not None) == continues
        assert (result.exception(20) is None) == continues


CONFIG = """
TRAIN: {{BATCH_SIZE: 2, EVAL_PERIOD: 100, CHECKPOINT_PERIOD: 100}}
TEST: {{BATCH_SIZE: 2, NUM_ENSEMBLE_VIEWS: 1, NUM_SPATIAL_CROPS: 1}}
MODEL: {{MODEL_NAME: FrameAverage, NUM_CLASSES: 2}}
VTN:
  BACKBONE: {{NAME: shallow_conv, PRETRAINED: False, ARGS: {{image_size: 32, width: 4, feature_dim: 8}}}}
DATA: {{PATH_TO_DATA_DIR: {data}, NUM_FRAMES: 2, SAMPLING_RATE: 2, TRAIN_JITTER_SCALES: [32, 36],
  TRAIN_CROP_SIZE: 32, TEST_CROP_SIZE: 32}}
DATA_LOADER: {{NUM_WORKERS: 0}}
SOLVER: {{BASE_LR: 0.01, MAX_EPOCH: {epochs}}}
LOG_PERIOD: 1
OUTPUT_DIR: {output}
"""


@pytest.mark.faults
def test_a_preempted_job_continues_in_the_next(small_dataset: Path, tmp_path: Path) -> None:
    config, output = tmp_path / "run.yaml", tmp_path / "out"
    config.write_text(CONFIG.format(data=small_dataset, output=output, epochs=60))
    tool = [sys.executable, str(ROOT / "tools" / "submit.py"), "--cluster", "local", "--gpus", "0", "--wait"]
    command = [*tool, "--jobs", str(tmp_path / "jobs"), "--hours", "1", "--", "--cfg", str(config)]
    process = subprocess.Popen([*command, "DATA_LOADER.NUM_WORKERS", "1"])
    wait_for_file(output / "metrics.jsonl")
    tasks = [task for task in psutil.Process(process.pid).children(recursive=True) if _is_task(task)]
    run = tasks[0].children(recursive=True)
    assert len(run) > 1  # the run and its worker
    for member in (*run, tasks[0]):  # SLURM signals all processes of a step
        member.send_signal(signal.SIGUSR2)
    assert process.wait(200) == 0
    log = (output / "stdout.log").read_text()
    assert "stopped by SIGUSR1: saved" in log
    assert "resumed from" in log
    assert log.index("stopped by SIGUSR1") < log.index("resumed from") < log.index("test_final")


def _is_task(process: psutil.Process) -> bool:
    return "submitit.core._submit" in process.cmdline()


@pytest.mark.faults
def test_the_batch_script_trains_on_two_nodes_and_continues(
    job: Callable[..., subprocess.Popen[str]], small_dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    config, output = tmp_path / "run.yaml", tmp_path / "out"
    config.write_text(CONFIG.format(data=small_dataset, output=output, epochs=60))
    process = job("--cfg", str(config), "NUM_GPUS", "0")
    wait_for_file(output / "metrics.jsonl")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(60) == 138
    assert (tmp_path / "requeued").read_text() == "requeue 31\n"
    assert job("--cfg", str(config), "NUM_GPUS", "0").wait(120) == 0
    log = (output / "stdout.log").read_text()
    assert "4 clips per step = 2 processes × 2" in log
    assert "resumed from" in log
