"""Commands in this checkout that have a limited time."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Seconds for a command that is interrupted to write what it has, at most a quarter of its time.
_GRACE_SECONDS = 20.0


def run_for(command: Sequence[str], log: Path, seconds: float) -> int | None:
    """Runs a command in the checkout for at most that time; returns its exit code, None: it did not end.

    Then it is interrupted, and ended with all processes that it has started. It finds the packages of this
    checkout, and asks no model hub.

    Args:
        log: file to which its output is appended.
    """
    paths = [str(ROOT), str(ROOT / "projects" / "vtn"), os.environ.get("PYTHONPATH", "")]
    packages = os.pathsep.join(filter(None, paths))
    grace = min(_GRACE_SECONDS, seconds / 4)
    with log.open("a") as file:
        # The command would inherit that interrupts are ignored, as they are in the background of a script.
        handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": packages, "HF_HUB_OFFLINE": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        signal.signal(signal.SIGINT, handler)
        try:
            return process.wait(seconds - grace)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(grace)
            return None
        finally:
            with suppress(ProcessLookupError):  # all have ended
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
