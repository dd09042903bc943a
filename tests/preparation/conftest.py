"""Valid and bad videos, and the files that are worked on."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from slowfast.preparation.file_work.isolated import run_isolated
from tests.support.videos import write_csv, write_video


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collects the files that are worked on, by their names."""
    found: list[str] = []

    def spy(task: Any, paths: Sequence[str], **options: Any) -> Any:
        paths = list(paths)
        found.extend(Path(path).name for path in paths)
        return run_isolated(task, paths, **options)

    monkeypatch.setattr("slowfast.preparation.file_work.work.run_isolated", spy)
    return found


@pytest.fixture(scope="session")
def mixed_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Valid videos and one of each kind of bad videos, and a list of all."""
    folder = tmp_path_factory.mktemp("mixed")
    write_video(folder / "good.mp4", 30, bf="2")
    write_video(folder / "also good.webm", 30, codec="libvpx")
    shutil.copy(folder / "good.mp4", folder / "twin.mp4")
    write_video(folder / "short.mp4", 3)
    (folder / "text.mp4").write_text("no video")
    (folder / "empty.mp4").touch()
    whole = bytearray(write_video(folder / "corrupt.mp4", 60, size=(128, 128)).read_bytes())
    for place in range(len(whole) // 2, len(whole) // 2 + 300):
        whole[place] ^= 0x5A
    (folder / "corrupt.mp4").write_bytes(whole)
    write_video(folder / "cut.mkv", 80, size=(128, 128))
    (folder / "cut.mkv").write_bytes(
        (folder / "cut.mkv").read_bytes()[: (folder / "cut.mkv").stat().st_size // 2]
    )
    names = sorted(path.name for path in folder.iterdir())
    write_csv(folder / "all.csv", [(name, i) for i, name in enumerate([*names, "missing.mp4"])])
    return folder
