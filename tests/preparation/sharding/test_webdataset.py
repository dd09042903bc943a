"""The library webdataset reads our shards, and we read its shards."""

from __future__ import annotations

from pathlib import Path

import webdataset

from tests.support.sharding.shards import hashes_of, originals, read_annotations, run_shard


def test_webdataset_reads_what_we_write(listed: Path, tmp_path: Path) -> None:
    run_shard(listed, target := tmp_path / "train")
    last = len(hashes_of(target)) - 1
    pattern = f"{target}/shard-{{000000..{last:06d}}}.tar"
    dataset = webdataset.WebDataset(pattern, shardshuffle=False).decode()
    samples = list(dataset.to_tuple("__key__", "mp4", "cls", "json"))
    found = read_annotations(pattern)
    assert [key for key, *_ in samples] == [f"{i:06d}" for i in range(12)]
    assert [label for _, _, label, _ in samples] == found.labels().tolist()
    assert [values["path"] for *_, values in samples] == originals(found)
    for _, video, _, values in samples:
        assert video == (listed.parent / values["path"]).read_bytes()


def test_we_read_what_webdataset_writes(listed: Path, tmp_path: Path) -> None:
    videos = sorted((listed.parent / "videos").iterdir())
    (tmp_path / "train").mkdir()
    with webdataset.ShardWriter(f"{tmp_path}/train/shard-%06d.tar", maxcount=5, verbose=0) as writer:
        for i, video in enumerate(videos):
            label = {"cls": i % 3} if i % 2 else {"json": {"label": i % 3, "group": f"g{i}"}}
            writer.write({"__key__": f"sample{i:03d}", "mp4": video.read_bytes(), "txt": "a text", **label})
    found = read_annotations(tmp_path)
    assert found.labels().tolist() == [i % 3 for i in range(12)]
    for path, video in zip(found.paths, videos, strict=True):
        with path.open() as member:  # type: ignore[attr-defined]
            assert member.read() == video.read_bytes()
