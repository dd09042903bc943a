"""Output of an extraction: a manifest, the features in their dtype, and the videos without features."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slowfast.datasets.build import build_dataset
from slowfast.errors import DataError, DeviceError
from slowfast.models import frame_encoder
from slowfast.video.decoding import describe_backend
from tests.support.tiny_features import WIDTH, TinyFeatures
from tests.support.videos import write_csv


def scale_features(monkeypatch: pytest.MonkeyPatch, factor: Callable[[int], float]) -> None:
    """Multiplies the features of each video by a factor that depends on its number of frames."""
    encode = TinyFeatures.encode_frames

    def scaled(self: TinyFeatures, frames: torch.Tensor) -> torch.Tensor:
        return encode(self, frames) * factor(frames.shape[2])

    monkeypatch.setattr(TinyFeatures, "encode_frames", scaled)


def test_the_manifest_describes_the_features(make: Any, tmp_path: Path) -> None:
    rates = ("DATA.TARGET_FPS", 25, "DATA.FEATURES_FPS", 12.5)
    make(*rates, dtype="float16", crops=2, flips=True, short_sides=(36, 40))
    manifest = json.loads((tmp_path / "cache/manifest.json").read_text())
    assert {"backbone", "weights"} <= set(manifest["source"])
    assert manifest["dtype"] == "float16"
    assert manifest["fps"] == 12.5
    assert {"code", "decoder"} <= set(manifest["made_by"])
    rows = np.load(tmp_path / "cache/short36-crop32-2of2-flip/clips/0.mp4.npy", mmap_mode="r")
    assert rows.dtype == np.float16
    assert rows.shape == (5, WIDTH), "every second one of ten frames at 25 frames per second"


def test_the_manifest_names_the_library_that_decodes(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests an extraction beside torchcodec, which is not asked for frames that are read in chunks."""
    asked = []
    monkeypatch.setattr("slowfast.video.torchcodec_video.torchcodec_version", lambda: "0.0")
    monkeypatch.setattr("slowfast.video.torchcodec_video.TorchCodecVideo._decoder", asked.append)
    make("DATA.DECODING_BACKEND", "torchcodec")
    assert asked == []
    manifest = json.loads((tmp_path / "cache/manifest.json").read_text())
    assert manifest["made_by"]["decoder"] == describe_backend("pyav")
    assert "torchcodec" not in manifest["made_by"]["decoder"]
    assert (
        describe_backend("torchcodec") == f"torchcodec 0.0; {describe_backend('pyav')} for chunks of frames"
    )


def test_bfloat16_is_stored_as_its_bits(make: Any, tmp_path: Path) -> None:
    make()
    exact = np.load(tmp_path / "cache/short32-crop32-1of1/clips/3.mp4.npy")
    make("DATA.FEATURES", str(tmp_path / "short"), dtype="bfloat16")
    bits = np.load(tmp_path / "short/short32-crop32-1of1/clips/3.mp4.npy")
    assert bits.dtype == np.uint16
    values = torch.from_numpy(bits).view(torch.bfloat16).float().numpy()
    np.testing.assert_allclose(values, exact, rtol=2**-8)


def test_features_beyond_the_range_of_the_dtype_are_refused(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale_features(monkeypatch, lambda _: 1e6)
    with pytest.raises(DataError, match="bfloat16"):
        make(dtype="float16")
    make(dtype="bfloat16")


@pytest.mark.parametrize(
    ("factor", "reason"), [(float("nan"), "NaN or infinite"), (1e6, "extract as bfloat16")]
)
def test_one_video_whose_features_cannot_be_stored_is_listed(
    make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, factor: float, reason: str
) -> None:
    scale_features(monkeypatch, lambda frames: factor if frames == 16 else 1)
    make(dtype="float16")
    (found,) = json.loads((tmp_path / "cache/broken.json").read_text())  # once, though in each split
    assert (found["reason"], Path(found["path"]).name) == ("not finite", "3.mp4")
    assert reason in found["detail"]
    assert found["path"] not in found["detail"]


def test_videos_that_cannot_be_stored_do_not_end_a_later_start(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the others are complete, and nothing but such videos is encoded."""
    scale_features(monkeypatch, lambda frames: float("nan") if frames in (16, 18, 20, 22) else 1)
    make()
    make()


def test_broken_videos_are_listed_and_the_others_extracted(make: Any, videos: Path, tmp_path: Path) -> None:
    data = tmp_path / "broken"
    data.mkdir()
    (data / "text.mp4").write_text("no video")
    paths = [*(videos / f"clips/{i}.mp4" for i in range(6)), data / "text.mp4", data / "gone.mp4"]
    for split in ("train", "val", "test"):
        write_csv(data / f"{split}.csv", [(path, 0) for path in paths])
    cfg = make("DATA.PATH_PREFIX", "", data=data)
    found = json.loads((tmp_path / "cache/broken.json").read_text())
    assert sorted(Path(video["path"]).name for video in found) == ["gone.mp4", "text.mp4"]
    dataset = build_dataset(cfg, "test")
    text, gone = dataset[2 * 6], dataset[2 * 7]  # two views of each video
    assert (text.reason, gone.reason) == ("not a video", "missing")
    assert text.detail.endswith("; found by the extraction")
    (tmp_path / "cache/broken.json").unlink()
    assert "run `slowfast extract` again" in dataset[2 * 7].detail


def test_a_damaged_file_counts_as_a_broken_video(make: Any, tmp_path: Path) -> None:
    cfg = make()
    path = tmp_path / "cache/short32-crop32-1of1/clips/0.mp4.npy"
    for content in (path.read_bytes()[:-1], b"", b"\x93NUMPY\x01\x00\x10\x00{'shape"):
        path.write_bytes(content)
        assert build_dataset(cfg, "test")[0].reason == "damaged features"


def test_a_full_device_names_the_keys_that_need_less(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(frame_encoder.FrameEncoder, "encode", full)
    with pytest.raises(DeviceError, match=r"is full; any of these needs less: fewer DATA_LOADER.NUM_WORKERS"):
        make()
