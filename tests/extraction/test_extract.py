"""Cached features of real videos give the same views, logits and training as the frames."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode

from slowfast.datasets.build import build_dataset
from slowfast.datasets.clip import Clip
from slowfast.distributed.world import World, free_local_address
from slowfast.engine.evaluator import build_evaluator
from slowfast.engine.run import run
from slowfast.engine.run_model import build_seeded_model
from slowfast.errors import ConfigError, DataError, DeviceError
from slowfast.extraction.extract import ExtractionRequest, extract_features
from slowfast.features.batch import FeatureClip
from slowfast.features.cache import Manifest, Variant
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.models import frame_encoder
from slowfast.models.capabilities import EncodingSetup
from slowfast.video.decoding import describe_backend
from tests.support.processes import run_all
from tests.support.run_results import metrics_of
from tests.support.tiny_features import WIDTH, TinyFeatures, feature_config
from tests.support.videos import write_csv, write_video

TICKS = tuple(int(20 * i + 600 * (i > 11)) for i in range(24))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Square videos of 10 to 24 frames in ``clips/``, one of a varying frame rate, listed with a prefix."""
    folder = tmp_path_factory.mktemp("feature_videos")
    (folder / "clips").mkdir()
    for i in range(8):
        ticks = TICKS if i == 7 else None
        write_video(folder / f"clips/{i}.mp4", 10 + 2 * i, size=(40, 40), bf="2", ticks=ticks)
    listed = [(f"clips/{i}.mp4", i % 3) for i in range(8)]
    for split in ("train", "val", "test"):
        write_csv(folder / f"{split}.csv", listed)
    return folder


@pytest.fixture
def make(videos: Path, tmp_path: Path) -> Any:
    """Extracts a cache; returns the configuration that reads it."""

    def extract(*changes: Any, data: Path = videos, **request: Any) -> Any:
        cfg = feature_config(
            data, tmp_path, "DATA.PATH_PREFIX", str(data), "DATA.FEATURES", str(tmp_path / "cache"), *changes
        )
        extract_features(cfg, World(), Interrupt(), ExtractionRequest(**{"dtype": "float32", **request}))
        return cfg

    return extract


def without_cache(cfg: CfgNode) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATA.FEATURES = ""
    return cfg


def scores(cfg: CfgNode) -> Any:
    """Returns the logits of the untrained model on the test split."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.HEAD_ACT = "none"
    model: Any = build_seeded_model(cfg, World(), fetch_weights=True)
    evaluation = build_evaluator(cfg, "test", model, World(), Interrupt()).run()
    assert evaluation is not None
    assert not evaluation.broken
    return evaluation.scores


# ------------------------------------------------------------------------- the same as from frames


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 1e-3), ("bfloat16", 1e-2)])
@pytest.mark.parametrize(
    "views",
    [
        ("TEST.NUM_ENSEMBLE_VIEWS", 2, "TEST.NUM_SPATIAL_CROPS", 3, "DATA.TEST_CROP_SIZE", 24),
        ("TRAIN.EVAL_FULL_VIDEO", True, "TEST.NUM_ENSEMBLE_VIEWS", 1, "TRAIN.EVAL_NUM_FRAMES", 6),
    ],
    ids=["clips and crops", "whole videos"],
)
def test_logits_equal_the_logits_from_frames(
    make: Any, views: tuple[Any, ...], dtype: str, tolerance: float
) -> None:
    cfg = make(*views, dtype=dtype)
    cached, direct = scores(cfg), scores(without_cache(cfg))
    assert np.abs(cached - direct).max() < tolerance * max(1, np.abs(direct).max())
    assert np.ptp(direct, axis=0).min() > 0.01


def test_training_clips_equal_the_clips_of_frames(make: Any) -> None:
    """Also for a varying frame rate. The random crop is always the full frame here."""
    cfg = make()
    cached = build_dataset(cfg, "train", feature_shape=(WIDTH,))
    direct = build_dataset(without_cache(cfg), "train")
    model = build_seeded_model(cfg, World(), fetch_weights=True)
    for index in range(len(direct)):
        row, clip = cached[(3, index)], direct[(3, index)]
        assert isinstance(row, FeatureClip)
        assert isinstance(clip, Clip)
        assert torch.equal(row.positions, clip.positions)
        frames = (clip.frames[None].float() / 255 - 0.45) / 0.225
        torch.testing.assert_close(row.features, model.encode_frames(frames)[0], rtol=1e-5, atol=1e-5)


def test_segments_of_videos_are_found_by_their_seconds(make: Any, videos: Path, tmp_path: Path) -> None:
    data = tmp_path / "parts"
    data.mkdir()
    rows = "".join(f"clips/{i}.mp4 0 0.1 0.35\nclips/{i}.mp4 1 0.2 9\n" for i in range(8))
    for split in ("train", "val", "test"):
        (data / f"{split}.csv").write_text("path label start end\n" + rows)
    cfg = make("DATA.PATH_TO_DATA_DIR", str(data), "DATA.PATH_PREFIX", str(videos))
    assert len(list((tmp_path / "cache/times/clips").iterdir())) == 8, "one file of features per video"
    cached, direct = build_dataset(cfg, "test"), build_dataset(without_cache(cfg), "test")
    for index in range(len(direct)):
        assert torch.equal(cached[index].positions, direct[index].positions)
    assert np.abs(scores(cfg) - scores(without_cache(cfg))).max() < 1e-5


def test_positions_in_seconds_equal_the_positions_of_frames(make: Any) -> None:
    cfg = make()
    cached = build_dataset(cfg, "test", position_rate=25.0)
    direct = build_dataset(without_cache(cfg), "test", position_rate=25.0)
    for index in range(len(direct)):
        assert torch.equal(cached[index].positions, direct[index].positions)


@pytest.mark.parametrize("processes", [1, 2])
def test_training_from_the_cache_equals_training_from_frames(
    make: Any, tmp_path: Path, processes: int
) -> None:
    """Compares losses and accuracies, also in two processes."""
    cfg = make("OUTPUT_DIR", str(tmp_path / "cached"), "LOG_MODEL_INFO", True)
    direct = without_cache(cfg)
    direct.OUTPUT_DIR = str(tmp_path / "direct")
    for config in (cfg, direct):
        address, shards = free_local_address(), []
        for shard in range(processes):
            own = config.clone()
            own.defrost()
            own.NUM_SHARDS, own.SHARD_ID, own.TRAIN.BATCH_SIZE = processes, shard, 4 // processes
            shards.append((own, address))
        assert run_all(run, shards) == [0] * processes
    for kind, name in (("train_iter", "loss"), ("val_epoch", "top1_err"), ("test_final", "top1_acc")):
        cached, expected = (metrics_of(tmp_path / where, kind) for where in ("cached", "direct"))
        assert [line[name] for line in cached] == pytest.approx([line[name] for line in expected], rel=1e-4)
        assert cached


# ------------------------------------------------------------------------ content of the cache


def test_the_manifest_describes_the_features(make: Any, tmp_path: Path) -> None:
    make(
        "DATA.TARGET_FPS",
        25,
        "DATA.FEATURES_FPS",
        12.5,
        dtype="float16",
        crops=2,
        flips=True,
        short_sides=(36, 40),
    )
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


def test_crops_and_mirror_images_are_drawn_in_training(make: Any) -> None:
    def means(cfg: CfgNode) -> set[float]:
        dataset = build_dataset(cfg, "train", feature_shape=(WIDTH,))
        return {round(float(dataset[(epoch, 0)].features.sum()), 4) for epoch in range(40)}

    all_frames = ("DATA.NUM_FRAMES", 64)  # so that clips differ in their crops only
    cfg = make("DATA.TRAIN_CROP_SIZE", 28, *all_frames, crops=1, flips=True, short_sides=(32,))
    assert len(means(cfg)) == 1, "DATA.RANDOM_FLIP is False"
    cfg.defrost()
    cfg.DATA.RANDOM_FLIP = True
    assert len(means(cfg)) == 2


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
    encode = TinyFeatures.encode_frames
    monkeypatch.setattr(TinyFeatures, "encode_frames", lambda self, frames: encode(self, frames) * 1e6)
    with pytest.raises(DataError, match="bfloat16"):
        make(dtype="float16")
    make(dtype="bfloat16")


@pytest.mark.parametrize(
    ("factor", "reason"), [(float("nan"), "NaN or infinite"), (1e6, "extract as bfloat16")]
)
def test_one_video_whose_features_cannot_be_stored_is_listed(
    make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, factor: float, reason: str
) -> None:
    encode = TinyFeatures.encode_frames

    def encode_frames(self: TinyFeatures, frames: torch.Tensor) -> torch.Tensor:
        return encode(self, frames) * (factor if frames.shape[2] == 16 else 1)  # the video of 16 frames

    monkeypatch.setattr(TinyFeatures, "encode_frames", encode_frames)
    make(dtype="float16")
    (found,) = json.loads((tmp_path / "cache/broken.json").read_text())  # once, though in each split
    assert (found["reason"], Path(found["path"]).name) == ("not finite", "3.mp4")
    assert reason in found["detail"]
    assert found["path"] not in found["detail"]


def test_videos_that_cannot_be_stored_do_not_end_a_later_start(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the others are complete, and nothing but such videos is encoded."""
    encode = TinyFeatures.encode_frames

    def encode_frames(self: TinyFeatures, frames: torch.Tensor) -> torch.Tensor:
        return encode(self, frames) * (float("nan") if frames.shape[2] in (16, 18, 20, 22) else 1)

    monkeypatch.setattr(TinyFeatures, "encode_frames", encode_frames)
    make()
    make()


def test_incomplete_features_of_another_precision_are_extracted_again(
    make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Otherwise one video would have rows of both."""
    monkeypatch.setattr(frame_encoder, "CHUNK_FRAMES", 4)
    encode, calls = TinyFeatures.encode_frames, list[int]()

    def stopped(self: TinyFeatures, frames: torch.Tensor) -> torch.Tensor:
        calls.append(frames.shape[2])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(self, frames)

    class Reduced(EncodingSetup):
        """A setup of a model that computes in bfloat16."""

        def describe(self) -> str:
            return "bfloat16"

    with monkeypatch.context() as patch:
        patch.setattr(TinyFeatures, "encode_frames", stopped)
        patch.setattr("slowfast.extraction.extract.build_encoding", lambda *_: Reduced("bfloat16"))
        with pytest.raises(KeyboardInterrupt):
            make()
    assert len(list((tmp_path / "cache").rglob("*.part.npy"))) == 1
    monkeypatch.setattr(TinyFeatures, "encode_frames", lambda self, frames: encode(self, frames) + 1)
    make()
    first = np.load(tmp_path / "cache/short32-crop32-1of1/clips/0.mp4.npy")
    make("DATA.FEATURES", str(tmp_path / "fresh"))
    np.testing.assert_array_equal(first, np.load(tmp_path / "fresh/short32-crop32-1of1/clips/0.mp4.npy"))


def test_broken_videos_are_listed_and_the_others_extracted(make: Any, videos: Path, tmp_path: Path) -> None:
    data = tmp_path / "broken"
    data.mkdir()
    (data / "text.mp4").write_text("no video")
    listed = [
        *((videos / f"clips/{i}.mp4", 0) for i in range(6)),
        (data / "text.mp4", 1),
        (data / "gone.mp4", 1),
    ]
    for split in ("train", "val", "test"):
        write_csv(data / f"{split}.csv", listed)
    cfg = make("DATA.PATH_PREFIX", "", data=data)
    found = json.loads((tmp_path / "cache/broken.json").read_text())
    assert sorted(Path(video["path"]).name for video in found) == ["gone.mp4", "text.mp4"]
    dataset = build_dataset(cfg, "test")
    text, gone = dataset[2 * 6], dataset[2 * 7]  # two views of each video
    assert (text.reason, gone.reason) == ("not a video", "missing")
    assert text.detail.endswith("; found by the extraction")
    (tmp_path / "cache/broken.json").unlink()
    assert "run `slowfast extract` again" in dataset[2 * 7].detail


# ----------------------------------------------------------------------------- continuing


def test_complete_videos_are_not_extracted_again(
    make: Any, videos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make()
    seen: list[int] = []
    encode = TinyFeatures.encode_frames

    def count(self: TinyFeatures, frames: torch.Tensor) -> torch.Tensor:
        seen.append(frames.shape[2])
        return encode(self, frames)

    monkeypatch.setattr(TinyFeatures, "encode_frames", count)
    make()
    assert seen == []
    video = videos / "clips/2.mp4"
    os.utime(video)
    make()
    assert seen == [14], "the changed one"
    make(flips=True)
    assert sum(seen) == 14 + sum(10 + 2 * i for i in range(8)), "the mirror images alone"


def test_a_video_of_several_splits_is_extracted_by_one_thread(
    make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    encode = TinyFeatures.encode_frames

    def slowly(self: TinyFeatures, frames: torch.Tensor) -> torch.Tensor:
        time.sleep(0.05)
        return encode(self, frames)

    monkeypatch.setattr(TinyFeatures, "encode_frames", slowly)
    cfg = make("DATA_LOADER.NUM_WORKERS", 6, "DATA.FEATURES", str(tmp_path / "threads"))
    assert len(scores(cfg)) == 8


def test_a_stopped_extraction_continues_in_the_middle_of_a_video(
    make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(frame_encoder, "CHUNK_FRAMES", 4)
    make()
    complete = {path.name: path.read_bytes() for path in (tmp_path / "cache").rglob("*.npy")}
    encode, calls = TinyFeatures.encode_frames, []

    def interrupted(self: TinyFeatures, frames: torch.Tensor) -> torch.Tensor:
        calls.append(frames.shape[2])
        if len(calls) % 3 == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return encode(self, frames)

    monkeypatch.setattr(TinyFeatures, "encode_frames", interrupted)
    cache = tmp_path / "stopped"
    cfg = feature_config(
        Path(make().DATA.PATH_TO_DATA_DIR), tmp_path, "DATA.FEATURES", str(cache),
        "DATA.PATH_PREFIX", make().DATA.PATH_PREFIX,
    )  # fmt: skip
    while _is_stopped(cfg):
        pass
    assert {path.name: path.read_bytes() for path in cache.rglob("*.npy")} == complete
    assert sum(calls) == sum(10 + 2 * i for i in range(8)), "no frame was encoded twice"


def _is_stopped(cfg: CfgNode) -> bool:
    """Extracts until a signal comes; returns whether one came."""
    try:
        with Interrupt() as interrupt:
            extract_features(cfg, World(), interrupt, ExtractionRequest(dtype="float32"))
    except Interrupted:
        return True
    return False


def test_videos_are_distributed_over_processes(videos: Path, tmp_path: Path, make: Any) -> None:
    make()
    address, cache = free_local_address(), tmp_path / "shared"
    configs = [
        feature_config(
            videos, tmp_path / str(shard), "DATA.PATH_PREFIX", str(videos), "DATA.FEATURES", str(cache),
            "NUM_SHARDS", 2, "SHARD_ID", shard,
        )
        for shard in (0, 1)
    ]  # fmt: skip
    assert run_all(_run_extraction, [(cfg, address) for cfg in configs]) == [0, 0]
    alone = {path.name: path.read_bytes() for path in (tmp_path / "cache/short32-crop32-1of1").rglob("*.npy")}
    shared = {path.name: path.read_bytes() for path in (cache / "short32-crop32-1of1").rglob("*.npy")}
    assert shared == alone
    made = [
        sum("frames encoded" in line and int(line.split()[-3]) for line in _log(tmp_path / str(s), s))
        for s in (0, 1)
    ]
    assert min(made) > 0
    assert sum(made) == sum(10 + 2 * i for i in range(8))


def _run_extraction(cfg: CfgNode, address: str) -> int:
    return run(cfg, address, work=_extract)


def _extract(cfg: CfgNode, world: World, interrupt: Interrupt) -> None:
    extract_features(cfg, world, interrupt, ExtractionRequest(dtype="float32"))


def _log(folder: Path, rank: int) -> list[str]:
    return (folder / ("stdout.log" if rank == 0 else f"stdout_rank{rank}.log")).read_text().splitlines()


@pytest.mark.parametrize("good", [1, 0])
def test_a_process_with_broken_videos_alone_does_not_end_the_extraction(
    videos: Path, tmp_path: Path, good: int
) -> None:
    """Unless no process could read any video. Both processes add to the list of an earlier version."""
    data, cache, address = tmp_path / "data", tmp_path / "cache", free_local_address()
    data.mkdir()
    cache.mkdir()
    older = [{"path": f"{name}.mp4", "reason": "missing", "detail": ""} for name in ("gone3", "other")]
    (cache / "broken-2.json").write_text(json.dumps(older))
    listed = [(f"gone{i}.mp4", 0) for i in range(12)] + [(videos / "clips/0.mp4", 0)] * good
    for split in ("train", "val", "test"):
        write_csv(data / f"{split}.csv", listed)
    configs = [
        feature_config(
            data, tmp_path / str(shard), "DATA.FEATURES", str(cache), "NUM_SHARDS", 2, "SHARD_ID", shard
        )
        for shard in (0, 1)
    ]
    expected = [0, 0] if good else [1, 1]
    assert run_all(_run_extraction, [(cfg, address) for cfg in configs]) == expected
    counts = [line for s in (0, 1) for line in _log(tmp_path / str(s), s) if "videos of this process" in line]
    assert any("features: 0 of" in line for line in counts)
    assert [path.name for path in cache.glob("broken*")] == ["broken.json"]
    names = [Path(video["path"]).name for video in json.loads((cache / "broken.json").read_text())]
    assert sorted(names) == sorted([*(f"gone{i}.mp4" for i in range(12)), "other.mp4"])


# --------------------------------------------------------------------- videos that have changed


@pytest.fixture
def own_videos(videos: Path, tmp_path: Path) -> Path:
    """A copy of the videos and lists, which a test may change."""
    return Path(shutil.copytree(videos, tmp_path / "own"))


def test_features_of_a_replaced_video_are_not_used(make: Any, own_videos: Path) -> None:
    """They would be those of another video, without a word. Those of the others stay."""
    cfg = make("DATA.PATH_PREFIX", str(own_videos), data=own_videos)
    write_video(own_videos / "clips/2.mp4", 14, size=(40, 40), crf="1")
    dataset = build_dataset(cfg, "test")
    broken = dataset[2 * 2]  # two views of each video
    assert (broken.reason, Path(broken.path).name) == ("changed video", "2.mp4")
    assert re.fullmatch(r"it has \d+ bytes, and had \d+ when .*; run `slowfast extract` again", broken.detail)
    assert isinstance(dataset[2 * 3], FeatureClip)
    make("DATA.PATH_PREFIX", str(own_videos), data=own_videos)
    assert isinstance(build_dataset(cfg, "test")[2 * 2], FeatureClip)
    assert np.abs(scores(cfg) - scores(without_cache(cfg))).max() < 1e-5


def test_features_are_used_with_copies_of_the_videos_and_without_them(
    make: Any, own_videos: Path, tmp_path: Path
) -> None:
    cfg = make("DATA.PATH_PREFIX", str(own_videos), data=own_videos)
    expected = scores(cfg)
    for video in (own_videos / "clips").iterdir():
        os.utime(video, (1, 1))
    np.testing.assert_array_equal(scores(cfg), expected)
    shutil.rmtree(own_videos / "clips")
    np.testing.assert_array_equal(scores(cfg), expected)


def test_a_cache_without_records_of_the_videos_is_read(make: Any, own_videos: Path, tmp_path: Path) -> None:
    cfg = make("DATA.PATH_PREFIX", str(own_videos), data=own_videos)
    for description in (tmp_path / "cache/short32-crop32-1of1").rglob("*.json"):
        description.unlink()
    write_video(own_videos / "clips/2.mp4", 14, size=(40, 40), crf="1")
    assert len(scores(cfg)) == 8


def test_a_data_set_whose_videos_have_all_changed_is_refused_at_the_start(
    make: Any, own_videos: Path
) -> None:
    cfg = make("DATA.PATH_PREFIX", str(own_videos), data=own_videos)
    for video in (own_videos / "clips").iterdir():
        write_video(video, 9, size=(40, 40), crf="1")
    with pytest.raises(DataError, match=r"has none of the first videos .*0\.mp4: changed video"):
        build_dataset(cfg, "test")


def test_a_replaced_video_loses_its_features_of_other_crops(
    make: Any, own_videos: Path, tmp_path: Path
) -> None:
    """The times of the new frames would stand beside rows of the old ones, as many by chance."""
    place = ("DATA.PATH_PREFIX", str(own_videos))
    make(*place, data=own_videos, flips=True)
    write_video(own_videos / "clips/2.mp4", 16, size=(40, 40), crf="1")
    make(*place, data=own_videos)
    mirrored = tmp_path / "cache/short32-crop32-1of1-flip/clips"
    assert sorted(path.name for path in mirrored.glob("*.npy")) == [
        f"{i}.mp4.npy" for i in range(8) if i != 2
    ]


# ----------------------------------------------------------------------------- refusals


def test_two_videos_of_one_name_are_refused(videos: Path, tmp_path: Path, make: Any) -> None:
    """A name is the path below one of the roots: the prefix, or the folder of the lists."""
    data = tmp_path / "data"
    (data / "clips").mkdir(parents=True)
    (data / "clips/0.mp4").symlink_to(videos / "clips/1.mp4")
    for split in ("train", "val", "test"):
        write_csv(data / f"{split}.csv", [("clips/0.mp4", 0), (data / "clips/0.mp4", 1)])
    with pytest.raises(
        ConfigError, match=r"videos0/clips/0\.mp4 and .*data/clips/0\.mp4 would share the feat"
    ):
        make("DATA.PATH_PREFIX", str(videos), data=data)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("RNG_SEED", 7), "weights"),
        (("DATA.FEATURES_FPS", 25.0), "DATA.FEATURES_FPS"),
        (("DATA.MEAN", [0.5, 0.5, 0.5]), "mean"),
        (("DATA.REVERSE_INPUT_CHANNEL", True), "channels"),
        (("DATA.TEST_CROP_SIZE", 24), "transform"),
        (("TEST.NUM_SPATIAL_CROPS", 3), "transform"),
    ],
)
def test_a_cache_of_other_settings_is_refused(make: Any, change: tuple[str, Any], named: str) -> None:
    cfg = make("DATA.TARGET_FPS", 25)
    scores(cfg)
    cfg.defrost()
    cfg.merge_from_list(list(change))
    with pytest.raises(ConfigError, match=f"extracted with other settings.*{named}"):
        scores(cfg)


def test_another_training_crop_is_refused(make: Any) -> None:
    cfg = make()
    cfg.defrost()
    cfg.DATA.TRAIN_JITTER_SCALES = [33, 40]
    with pytest.raises(ConfigError, match=r"transform: the cache has short32.*33 to 40"):
        build_dataset(cfg, "train")


def test_nothing_is_added_to_a_folder_of_other_features(make: Any) -> None:
    make()
    with pytest.raises(ConfigError, match=r"holds other features: .*dtype: the cache has float32"):
        make(dtype="float16")
    with pytest.raises(ConfigError, match="weights"):
        make("RNG_SEED", 7)


def test_training_a_frame_encoder_from_its_cached_features_is_refused(make: Any, tmp_path: Path) -> None:
    cfg = make("MODEL.ARCH", "trained", "OUTPUT_DIR", str(tmp_path / "run"))
    with pytest.raises(ConfigError, match="freeze"):
        run(cfg)


def test_videos_of_another_data_set_are_refused(make: Any, tmp_path: Path) -> None:
    cfg = make()
    data = tmp_path / "other"
    data.mkdir()
    write_csv(data / "test.csv", [("others/a.mp4", 0)])
    cfg.defrost()
    cfg.DATA.PATH_TO_DATA_DIR = str(data)
    with pytest.raises(DataError, match="none of the first videos"):
        build_dataset(cfg, "test")


def test_a_damaged_file_counts_as_a_broken_video(make: Any, tmp_path: Path) -> None:
    cfg = make()
    path = tmp_path / "cache/short32-crop32-1of1/clips/0.mp4.npy"
    for content in (path.read_bytes()[:-1], b"", b"\x93NUMPY\x01\x00\x10\x00{'shape"):
        path.write_bytes(content)
        assert build_dataset(cfg, "test")[0].reason == "damaged features"


def test_a_manifest_is_read_as_written_and_damage_is_reported(tmp_path: Path) -> None:
    manifest = Manifest(
        {"weights": "a"}, 4, "float16", 0.0, (0.5,) * 3, (0.25,) * 3, "RGB", (Variant(32, 24, 1, 3),), {}
    )
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest
    assert manifest.differences(replace(manifest, source={"weights": "b"})) == [
        "weights: the cache has a, needed is b"
    ]
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="extract the features again"):
        Manifest.read(tmp_path)


def test_training_uses_the_variants_that_its_own_videos_have(videos: Path, tmp_path: Path) -> None:
    """The manifest also lists those of the other splits, whose videos are others here."""
    data = tmp_path / "data"
    data.mkdir()
    for split, first in (("train", 0), ("val", 4), ("test", 6)):
        write_csv(data / f"{split}.csv", [(f"clips/{i}.mp4", i % 3) for i in range(first, first + 2)])
    cfg = feature_config(
        data, tmp_path, "DATA.PATH_PREFIX", str(videos), "DATA.FEATURES", str(tmp_path / "cache"),
        "DATA.TRAIN_JITTER_SCALES", [32, 40],
    )  # fmt: skip
    extract_features(cfg, World(), Interrupt(), ExtractionRequest(short_sides=(36,)))
    names = {variant.name for variant in Manifest.read(tmp_path / "cache").variants}
    assert names == {"short36-crop32-1of1", "short32-crop32-1of1"}
    dataset = build_dataset(cfg, "train", feature_shape=(WIDTH,))
    for epoch in range(10):
        clip = dataset[(epoch, 0)]
        assert isinstance(clip, FeatureClip)
        assert not clip.broken


def test_a_full_device_names_the_keys_that_need_less(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(frame_encoder.FrameEncoder, "encode", full)
    with pytest.raises(DeviceError, match=r"is full; any of these needs less: fewer DATA_LOADER.NUM_WORKERS"):
        make()
