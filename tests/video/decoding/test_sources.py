"""Sources of videos: file objects, files of any name, and files that are not complete videos."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from slowfast.errors import DecodeError
from slowfast.video.decoding import decode
from tests.support.videos import read_stamps, write_video


def test_a_file_object_is_a_source(stamped_video: Path) -> None:
    assert read_stamps(decode(io.BytesIO(stamped_video.read_bytes()), indices=[3, 44])) == [3, 44]


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty"), (b"not a video at all " * 100, "not a video"), (None, "missing")]
)
def test_files_that_are_not_videos_are_classified(content: bytes | None, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DecodeError) as caught:
        decode(path)
    assert caught.value.reason == reason
    assert str(path) in str(caught.value)


def test_a_name_that_looks_like_an_address_or_a_pattern_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_video(tmp_path / "plain.mp4", 5)
    for name in ("concat:a|b.mp4", "-i.mp4", "%03d.mp4", "a b\n.mp4", "ü😀.mp4"):
        (tmp_path / name).write_bytes(path.read_bytes())
        assert read_stamps(decode(name)) == [0, 1, 2, 3, 4]
