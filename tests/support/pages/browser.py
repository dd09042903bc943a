"""Pages in a browser without a window."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

needs_browser = pytest.mark.skipif(_BROWSER is None, reason="needs Chromium")


def dump_page(url: str, profile: Path, *options: str, milliseconds: int = 8000) -> str:
    """Returns the elements of a page after its script has run.

    Args:
        profile: folder for the files of the browser.
        options: further ones of the browser.
        milliseconds: virtual time for the script, which passes at once where it waits.
    """
    assert _BROWSER is not None
    return subprocess.run(
        [
            *(_BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"),
            *(*options, f"--virtual-time-budget={milliseconds}", "--dump-dom", url),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
