"""A corpus of broken, odd and hostile files, made by changing bytes of real encoded videos."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.corpus.case import Case
from tests.support.corpus.damaged_videos import damaged, odd, truncated
from tests.support.corpus.hostile_files import huge, named_strangely, not_files, not_videos, playlists


def make_corpus(folder: Path) -> dict[str, Case]:
    """Writes all files below ``folder``; returns the cases by name."""
    cases: dict[str, Case] = {}
    for write_cases in (truncated, damaged, odd, not_videos, not_files, named_strangely, huge, playlists):
        subfolder = folder / write_cases.__name__
        subfolder.mkdir()
        for case in write_cases(subfolder):
            cases[f"{subfolder.name}/{os.path.basename(case.path)[:40]}"] = case
    return cases
