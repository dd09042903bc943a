"""Damage in a file makes frames missing, and never shows a wrong frame in the place of another.

Frames that are not reported as missing equal those of the undamaged file.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from slowfast.errors import DecodeError
from slowfast.video.decoding import decode, open_video
from tests.support.odd_files import exchange_times
from tests.support.videos import read_stamps, write_video

FRAMES, GROUP = 72, 12
DAMAGED = range(2 * GROUP, 3 * GROUP)  # the frames of the group whose key frame is damaged
TS_PACKET = 188  # bytes


pytestmark = pytest.mark.usefixtures("keep_bytes")


def damage_key_frame(source: Path) -> Path:
    """Copies a video without the data of its third key frame; ts: without four transport packets there."""
    content = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        key = [packet for packet in container.demux(video=0) if packet.size and packet.is_keyframe][2]
        data, at = bytes(key), key.pos
    if source.suffix == ".ts":
        assert at is not None
        del content[at : at + 4 * TS_PACKET]
    else:
        at = content.index(data)
        content[at : at + len(data)] = b"\xff" * len(data)
    target = source.with_name(f"damaged{source.suffix}")
    target.write_bytes(content)
    return target


@pytest.fixture(params=["mp4", "mkv", "ts"])
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_video(tmp_path / f"whole.{request.param}", FRAMES, gop=GROUP, bf="2")


@pytest.mark.parametrize("size", [1, 5, 10, FRAMES])
def test_frames_of_a_damaged_key_frame_are_missing_and_the_others_exact(whole: Path, size: int) -> None:
    truth, path = decode(whole), damage_key_frame(whole)
    missing: set[int] = set()
    with open_video(path) as video:
        count = video.times.num_frames
        frames = np.concatenate(list(video.read_chunks(np.arange(count), size, None, missing)))
    # Packets of a ts that are lost with the key frame do not count as frames of the video.
    gone = FRAMES - count
    assert gone == 0 or whole.suffix == ".ts"
    assert missing == set(DAMAGED[: len(DAMAGED) - gone])
    sound = np.setdiff1d(np.arange(count), list(missing))
    np.testing.assert_array_equal(frames[sound], truth[np.setdiff1d(np.arange(FRAMES), DAMAGED)])
    assert not frames[list(missing)].any()


def test_a_damaged_key_frame_leaves_the_other_frames_readable(whole: Path) -> None:
    """Tests single frames, and one open video before and after an error."""
    truth, path = decode(whole), damage_key_frame(whole)
    with open_video(path) as video:
        count = video.times.num_frames
        shift = FRAMES - count
        with pytest.raises(DecodeError, match=r"frames cannot be decoded: 24, 25") as caught:
            video.read(np.arange(count))
        assert caught.value.reason == "corrupt"
        assert video.times.num_frames == count
        np.testing.assert_array_equal(video.read([23, 0, count - 1]), truth[[23, 0, FRAMES - 1]])
    for index in range(count):
        if index in DAMAGED[: len(DAMAGED) - shift]:
            with pytest.raises(DecodeError, match=f"frames cannot be decoded: {index}"):
                decode(path, indices=[index])
        else:
            stamp = index + shift * (index > DAMAGED[0])
            np.testing.assert_array_equal(decode(path, indices=[index])[0], truth[stamp])


@pytest.mark.parametrize("exchanged", [(6, 7), (43, 44)], ids=["before", "behind"])
def test_wrong_times_of_a_damaged_video_are_not_taken_for_damage(
    exchanged: tuple[int, int], tmp_path: Path
) -> None:
    """Tests timestamps that exchange two frames, in a file that has a damaged key frame as well."""
    source = write_video(tmp_path / "source.mkv", FRAMES, gop=GROUP, bf="3", preset="fast")
    path = damage_key_frame(exchange_times(source, tmp_path / "wrong.mkv", *exchanged))
    with open_video(path) as video:
        with pytest.raises(DecodeError, match="timestamps of its frames are wrong"):
            video.read(np.arange(FRAMES))
        assert video.times.num_frames == FRAMES
        with pytest.raises(DecodeError, match="timestamps of its frames are wrong"):
            list(video.read_chunks(np.arange(FRAMES), 8, None, set()))
        assert read_stamps(video.read([70])) == [70]
