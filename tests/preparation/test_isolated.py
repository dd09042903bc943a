"""Isolated work: a file that hangs, crashes or raises does not stop the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slowfast.errors import DecodeError
from slowfast.preparation.file_work import isolated
from slowfast.preparation.file_work.isolated import FileResult, run_isolated


def stand_in(path: str) -> str:
    """Hangs, crashes or raises, as the name of the file says."""
    match path:
        case "hangs":
            time.sleep(600)
        case "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "leaves":
            os._exit(3)
        case "broken":
            raise DecodeError(path, "not a video", "it is text")
        case "surprises":
            raise KeyError("defect")
        case "spoils":
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        case "suffers" if signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN:
            os._exit(4)
        case str() if path.startswith("process"):
            return str(os.getpid())
    return path.upper()


def run(*paths: str, time_limit: float = 60.0) -> dict[str, FileResult[str]]:
    return {o.path: o for o in run_isolated(stand_in, paths, workers=2, time_limit=time_limit)}


@pytest.mark.parametrize("system", [sys.platform, "darwin"])
def test_each_file_has_its_own_outcome(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "sys", SimpleNamespace(platform=system))
    outcomes = run("a", "crashes", "leaves", "broken", "surprises", "b")
    assert outcomes == {
        "a": FileResult("a", "A"),
        "b": FileResult("b", "B"),
        "crashes": FileResult("crashes", None, "crashed", "ended by signal SIGSEGV"),
        "leaves": FileResult("leaves", None, "crashed", "ended with status 3"),
        "broken": FileResult("broken", None, "not a video", "it is text"),
        "surprises": FileResult("surprises", None, "unexpected", "KeyError: 'defect'"),
    }


def test_processes_are_used_again_and_replaced_after_crashes() -> None:
    """A start takes longer than reading the packets of a short video."""
    outcomes = run(*(f"process {i}" for i in range(10)), "crashes", *(f"process {i}" for i in range(10, 20)))
    crashed = outcomes.pop("crashes")
    assert crashed.problem == "crashed"
    assert 1 <= len({outcome.value for outcome in outcomes.values()}) <= 3


def test_a_crash_is_not_blamed_on_a_file_after_the_one_that_caused_it() -> None:
    outcomes = run_isolated(stand_in, ["spoils", "suffers", "crashes", "a"], workers=1, time_limit=60.0)
    problems = {outcome.path: outcome.problem for outcome in outcomes}
    assert problems == {"spoils": "", "suffers": "", "crashes": "crashed", "a": ""}


def test_a_file_that_hangs_is_ended_after_the_time_limit() -> None:
    run("a")  # starts the server of processes
    start = time.monotonic()
    outcomes = run("hangs", "a", "b", time_limit=6.0)
    assert time.monotonic() - start < 25
    assert outcomes["hangs"] == FileResult("hangs", None, "timeout", "took longer than 6 s")
    assert outcomes["b"].value == "B"


class SlowToStart:
    """A task whose process needs longer to start than it has for a file."""

    def __call__(self, path: str) -> str:
        return path.upper()

    def __reduce__(self) -> Any:
        return _start_slowly, ()


def _start_slowly() -> SlowToStart:
    time.sleep(2.5)
    return SlowToStart()


def test_the_start_of_a_process_is_no_part_of_the_time_of_its_first_file() -> None:
    (outcome,) = run_isolated(SlowToStart(), ["a"], workers=1, time_limit=2.0)
    assert outcome == FileResult("a", "A")


def test_no_process_is_left_when_the_caller_stops() -> None:
    outcomes = run_isolated(stand_in, ["a", "hangs", "hangs"], workers=3, time_limit=600)
    next(outcomes)
    started = time.monotonic()
    outcomes.close()  # ends the running processes, and waits for them
    assert time.monotonic() - started < 20
    with pytest.raises(StopIteration):
        next(outcomes)


def test_ctrl_c_during_the_imports_of_the_server_prints_one_line(tmp_path: Path) -> None:
    """Ctrl-C goes to all processes of the terminal, the server of processes among them."""
    for number in range(200):  # more than are scanned within a moment
        (tmp_path / f"{number}.mp4").write_bytes(b"no video")
    command = [sys.executable, "-m", "slowfast.cli.main", "prepare", "scan", str(tmp_path)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell starts jobs in the background with SIGINT ignored, which processes inherit.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        deadline = time.monotonic() + 60
        while not _has_server(process.pid) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)  # its imports take longer
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "slowfast prepare scan: interrupted; the same command continues from here\n"


def _has_server(pid: int) -> bool:
    """Returns whether a process has started a server of processes."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return any(b"forkserver" in Path(f"/proc/{child}/cmdline").read_bytes() for child in children)
