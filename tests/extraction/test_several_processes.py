"""Extractions by several processes, which share the videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fvcore.common.config import CfgNode

from slowfast.distributed.world import World, free_local_address
from slowfast.engine.run import run
from slowfast.extraction.extract import ExtractionRequest, extract_features
from slowfast.features.broken_list import BrokenEntry, update_broken
from slowfast.interrupt import Interrupt
from tests.support.processes import run_all
from tests.support.tiny_features import feature_config
from tests.support.videos import write_csv


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
    """Unless no process could read any video. Both processes add to one list."""
    data, cache, address = tmp_path / "data", tmp_path / "cache", free_local_address()
    data.mkdir()
    cache.mkdir()
    earlier = [BrokenEntry(f"{name}.mp4", "missing", "", f"{name}.mp4") for name in ("gone3", "other")]
    update_broken(cache, earlier, [])
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
