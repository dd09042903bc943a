"""Videos for explanations."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.videos import write_csv, write_video


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``test.csv`` of videos of 1 to 24 frames, the first of one frame and the last broken."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [
        write_video(folder / f"{frames:02}.mp4", frames, size=(48, 64), fps=10) for frames in (1, 6, 13, 24)
    ]
    (folder / "broken.mp4").write_text("not a video")
    write_csv(folder / "test.csv", [(path, 0) for path in [*paths, folder / "broken.mp4"]])
    return folder
