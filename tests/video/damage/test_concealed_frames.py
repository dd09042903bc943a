"""Frames that FFmpeg repairs after a damaged packet are shown, and the log names their video."""

from __future__ import annotations

import logging
from collections import defaultdict
from pathlib import Path

import av
import numpy as np
import pytest

from slowfast import log
from slowfast.video.decoding import decode, open_video
from tests.support.odd_files import H264, SIZE, remux
from tests.support.videos import write_video

FRAMES, GROUP, DAMAGED = 24, 12, 17


@pytest.fixture(autouse=True)
def nothing_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_logged", defaultdict(set))


def noise(count: int) -> list[np.ndarray]:
    """Images whose packets are large enough to lose a part."""
    rng = np.random.default_rng(0)
    still = rng.integers(60, 190, (96, 96, 3)).astype(np.uint8)
    return [np.roll(still, 3 * i, axis=1) for i in range(count)]


def damage_predicted_frame(source: Path) -> Path:
    """Copies a video with other bytes in the second half of one P-frame."""
    with av.open(str(source)) as file:
        packet = [packet for packet in file.demux(video=0) if packet.size][DAMAGED]
        assert not packet.is_keyframe
        at, size = packet.pos, packet.size
    assert at is not None
    content = bytearray(source.read_bytes())
    half = size // 2
    content[at + half : at + size] = np.random.default_rng(1).bytes(size - half)
    target = source.with_name("damaged.mp4")
    target.write_bytes(content)
    return target


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return write_video(tmp_path / "sound.mp4", noise(FRAMES), size=(96, 96), gop=GROUP, bf="0")


def named(caplog: pytest.LogCaptureFixture, path: Path) -> list[str]:
    return [line for line in caplog.messages if line.startswith(f"{path}: has a damaged frame")]


def test_a_repaired_frame_is_logged_once_with_its_video(
    sound: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = damage_predicted_frame(sound)
    with caplog.at_level(logging.WARNING):
        assert np.ptp(decode(path, indices=[DAMAGED]).astype(int) - decode(sound, indices=[DAMAGED])) > 0
        decode(path)
        with open_video(path) as video:
            assert "1 frames concealed" in video.describe_damage()
    assert len(named(caplog, path)) == 1
    assert named(caplog, sound) == []


def test_each_file_with_the_same_error_is_damaged(tmp_path: Path) -> None:
    """PyAV by default logs a message once where the one before was the same."""
    source = write_video(tmp_path / "sound.mp4", FRAMES, size=SIZE, **H264)
    path = remux(source, tmp_path / "lost.mp4", lambda number, _: False if number == 6 else None)
    for _ in range(2):
        with open_video(path) as video:
            assert video.describe_damage().startswith("1 errors logged by the decoder: mmco")


def test_frames_beside_a_repaired_one_are_not_logged(sound: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = damage_predicted_frame(sound)
    before = np.arange(DAMAGED)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(decode(path, indices=before), decode(sound, indices=before))
    assert caplog.messages == []


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libx265", "libvpx-vp9"])
@pytest.mark.parametrize("options", [{}, {"bf": "2"}, {"x264-params": "open-gop=1:intra-refresh=1"}])
def test_sound_videos_are_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, codec: str, options: dict[str, str]
) -> None:
    path = write_video(
        tmp_path / "sound.mp4", noise(FRAMES), codec=codec, size=(96, 96), gop=GROUP, **options
    )
    with caplog.at_level(logging.WARNING):
        for index in (FRAMES - 1, 3, GROUP + 1):
            decode(path, indices=[index])
    assert caplog.messages == []
