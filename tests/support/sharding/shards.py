"""Shards for tests: written by the command, or member by member."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slowfast.cli.prepare import main
from slowfast.datasets.annotations import Annotations
from slowfast.datasets.readers.shards import read_shards
from slowfast.datasets.readers.source import AnnotationSource
from slowfast.video.archive.member import TarMember


def prepare_shards(source: Path, target: Path, *options: str) -> int:
    """Runs ``slowfast prepare shard``; returns its exit status."""
    return main(["shard", str(source), str(target), "--workers", "2", *options])


def shard_splits(data: Path, target: Path, *options: str) -> Path:
    """Writes the lists of a data set as shards of a few videos each; returns their folder."""
    for split in ("train", "val", "test"):
        assert prepare_shards(data / f"{split}.csv", target / split, "--shard-size", "12KB", *options) == 0
    return target


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """Writes an archive of these members in their order; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def read_annotations(
    folder: Path | str, split: str = "train", num_classes: int = 3, **options: Any
) -> Annotations:
    """Reads the shards of a split."""
    return read_shards(AnnotationSource(str(folder), split, num_classes, **options))


def originals(annotations: Annotations) -> list[str]:
    """Returns the name of the file of which each video is a copy."""
    return [path.original for path in annotations.paths if isinstance(path, TarMember)]


def run_shard(listed: Path, target: Path, *options: str, status: int = 0) -> dict[str, Any]:
    """Runs the command with its list's folder as prefix; returns the report."""
    report = target.parent / "report.json"
    own = ("--prefix", str(listed.parent), "--shard-size", "12KB", "--json", str(report))
    assert prepare_shards(listed, target, *own, *options) == status
    return json.loads(report.read_text()) if status == 0 else {}


def hashes_of(folder: Path) -> dict[str, str]:
    """Returns name -> hash of the shards in a folder."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("shard-*.tar"))
    }
