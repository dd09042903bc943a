"""Extractions that are killed, run at the same time or fill the disk give the cache of an undisturbed one."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from fvcore.common.config import CfgNode

from slowfast.datasets.build import build_dataset
from slowfast.distributed.world import World
from slowfast.errors import DataError
from slowfast.extraction.extract import ExtractionRequest, extract_features
from slowfast.features.batch import FeatureClip
from slowfast.files import TEMPORARY_MARK, hold_lock
from slowfast.interrupt import Interrupt
from slowfast.models import frame_encoder
from tests.support.processes import run_all, run_forked
from tests.support.tiny_features import TinyFeatures, feature_config
from tests.support.videos import write_csv, write_video

VIDEOS, FRAMES, CHUNK = 2, 8, 4
STRIDE = 5  # from one tried moment to the next; all of them take a minute


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crashes")
    for i in range(VIDEOS):
        write_video(folder / f"{i}.mp4", FRAMES + i, size=(40, 40))
    write_csv(folder / "test.csv", [(folder / f"{i}.mp4", 0) for i in range(VIDEOS)])
    return folder


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_encoder, "CHUNK_FRAMES", CHUNK)


def config(data: Path, cache: Path) -> CfgNode:
    return feature_config(data, cache.parent, "DATA.FEATURES", str(cache), "TRAIN.ENABLE", False)


def extract(cfg: CfgNode) -> int:
    extract_features(cfg, World(), Interrupt(), ExtractionRequest(dtype="float32"))
    return 0


def content(cache: Path) -> dict[str, bytes]:
    """Returns all files by name; without those that killed processes leave and nothing reads."""
    files = (path for path in cache.rglob("*") if path.is_file())
    return {
        str(path.relative_to(cache)): path.read_bytes()
        for path in files
        if TEMPORARY_MARK not in path.name and not path.name.endswith((".lock", ".part.json"))
    }


def at_each_write(action: Callable[[int], None], replace: Callable[[Any, str, Any], None]) -> None:
    """Calls ``action`` with the number of each call that changes the disk, before the call."""
    calls = [0]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            calls[0] += 1
            action(calls[0])
            return function(*arguments, **options)

        return call

    for name in ("fsync", "replace", "unlink"):
        replace(os, name, counted(getattr(os, name)))


def extract_until(cfg: CfgNode, last: int) -> int:
    """Kills its own process at a call that changes the disk."""

    def kill(number: int) -> None:
        if number == last:
            os.kill(os.getpid(), signal.SIGKILL)

    at_each_write(kill, setattr)
    return extract(cfg)


def test_an_extraction_killed_at_any_moment_continues_to_the_same_cache(data: Path, tmp_path: Path) -> None:
    assert run_forked(extract, config(data, tmp_path / "whole/cache")) == 0
    whole = content(tmp_path / "whole/cache")
    moment, code = 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        moment += STRIDE
        cfg = config(data, tmp_path / f"{moment}/cache")
        code = run_forked(extract_until, cfg, moment)
        assert run_forked(extract, cfg) == 0
        assert content(tmp_path / f"{moment}/cache") == whole, f"killed at write {moment}"
    assert code == 0
    assert moment > 4 * STRIDE


def test_extractions_of_the_same_videos_at_the_same_time_end_in_one_cache(data: Path, tmp_path: Path) -> None:
    """One works on a video that the other one has begun, or waits for it."""
    extract(config(data, tmp_path / "whole/cache"))
    cfg = config(data, tmp_path / "shared/cache")
    assert run_all(extract, [(cfg,)] * 4) == [0] * 4
    assert content(tmp_path / "shared/cache") == content(tmp_path / "whole/cache")


def test_a_video_that_another_extraction_writes_is_left_to_the_end(data: Path, tmp_path: Path) -> None:
    extract(config(data, tmp_path / "whole/cache"))
    expected = content(tmp_path / "whole/cache")
    cache = tmp_path / "shared/cache"
    first, second = (cache / f"short32-crop32-1of1/{i}.mp4.part.npy" for i in range(VIDEOS))
    first.parent.mkdir(parents=True)
    with ThreadPoolExecutor(1) as pool:
        with hold_lock(first.with_name(f"{first.name}.lock"), 0):
            running = pool.submit(extract, config(data, cache))
            while not running.done() and not second.with_name("1.mp4.npy").exists():
                time.sleep(0.01)
            assert not running.done()
        assert running.result(60) == 0
    assert content(cache) == expected


def test_a_video_that_is_replaced_while_it_is_extracted_is_extracted_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The open file keeps its old frames, whose features must not count as those of the new one."""
    videos = Path(shutil.copytree(data, tmp_path / "videos"))
    write_csv(videos / "test.csv", [(videos / f"{i}.mp4", 0) for i in range(VIDEOS)])
    encode, cfg = TinyFeatures.encode_frames, config(videos, tmp_path / "cache")

    def replacing(self: TinyFeatures, frames: torch.Tensor) -> torch.Tensor:
        write_video(tmp_path / "new.mp4", FRAMES, size=(40, 40), crf="1").replace(videos / "0.mp4")
        return encode(self, frames)

    with monkeypatch.context() as patch:
        patch.setattr(TinyFeatures, "encode_frames", replacing)
        extract(cfg)
    assert build_dataset(cfg, "test")[0].reason == "changed video"
    extract(cfg)
    assert isinstance(build_dataset(cfg, "test")[0], FeatureClip)


@pytest.mark.parametrize("moment", [3, 8, 12, 20])
def test_a_full_disk_is_an_error_with_its_remedy_and_the_next_start_continues(
    data: Path, tmp_path: Path, moment: int
) -> None:
    def fill(number: int) -> None:
        if number >= moment:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    extract(config(data, tmp_path / "whole/cache"))
    cfg = config(data, tmp_path / "full/cache")
    with pytest.MonkeyPatch.context() as patch:
        at_each_write(fill, patch.setattr)
        with pytest.raises(DataError, match="No space left on device"):
            extract(cfg)
    extract(cfg)
    assert content(tmp_path / "full/cache") == content(tmp_path / "whole/cache")
