"""Videos in shards give the clips, labels and names of the same videos in a list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode
from torch import Tensor

from slowfast.config.check import check
from slowfast.config.check_run import check_inputs
from slowfast.datasets.build import build_dataset
from slowfast.datasets.clip import Batch, ClipBatch
from slowfast.datasets.loading.loader import ClipLoader, build_loader
from slowfast.datasets.loading.samplers import ShardSampler, TrainSampler
from slowfast.datasets.shards.member_paths import ShardOrder
from slowfast.datasets.video_dataset import VideoDataset
from slowfast.errors import ConfigError
from slowfast.features.build import build_feature_names
from tests.support.configs import make_config
from tests.support.sharding.shards import originals, prepare_shards, read_annotations, shard_splits, write_tar
from tests.support.tiny import tiny_config
from tests.support.videos import write_video

SHARDS = ("TRAIN.DATASET", "shards", "TEST.DATASET", "shards")


@pytest.fixture(scope="module")
def in_order(colour_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 26 + 7 + 7 videos in shards of a few videos each, in the order of the lists."""
    return shard_splits(colour_videos, tmp_path_factory.mktemp("shards"), "--keep-order")


def config(data: Path, *changes: Any) -> CfgNode:
    return tiny_config(data, data / "output", "DATA_LOADER.NUM_WORKERS", 0, *changes)


def loader_of(cfg: CfgNode, split: str, **options: Any) -> ClipLoader:
    return build_loader(cfg, build_dataset(cfg, split), split, batch_size=4, **options)


def same_batches(one: Iterator[Batch], other: Iterator[Batch]) -> int:
    count = 0
    for batch, another in zip(one, other, strict=True):
        assert isinstance(batch, ClipBatch)
        assert isinstance(another, ClipBatch)
        twins = vars(another)
        for name, value in vars(batch).items():
            equal = torch.equal(value, twins[name]) if isinstance(value, Tensor) else value == twins[name]
            assert equal, name
        count += 1
    return count


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("DATA.DECODING_BACKEND", "torchcodec"),
        ("TEST.NUM_SPATIAL_CROPS", 3, "TRAIN.EVAL_FULL_VIDEO", True, "TEST.NUM_ENSEMBLE_VIEWS", 1),
        ("DATA_LOADER.NUM_WORKERS", 2),
    ],
)
def test_clips_are_those_of_the_list(
    colour_videos: Path, in_order: Path, split: str, changes: tuple[Any, ...]
) -> None:
    plain = loader_of(config(colour_videos, *changes), split)
    sharded = loader_of(config(in_order, *SHARDS, "DATA.SHUFFLE_SHARDS", 0, *changes), split)
    assert len(plain.dataset.paths) == len(sharded.dataset.paths)
    assert same_batches(iter(plain), iter(sharded)) == len(plain)


def test_clips_of_the_original_semantics_are_those_of_the_list(colour_videos: Path, in_order: Path) -> None:
    original = ("DATA.ORIGINAL_SEMANTICS", True, "TRAIN.ENABLE", False)
    plain = loader_of(config(colour_videos, *original), "test")
    assert same_batches(iter(plain), iter(loader_of(config(in_order, *SHARDS, *original), "test"))) > 0


def test_videos_are_streamed_as_from_files(colour_videos: Path, in_order: Path) -> None:
    streamed = ("TRAIN.EVAL_FULL_VIDEO", True, "TRAIN.EVAL_STREAM_FRAMES", 3, "TEST.NUM_ENSEMBLE_VIEWS", 1)
    streams = []
    for cfg in (config(colour_videos, *streamed), config(in_order, *SHARDS, *streamed)):
        dataset = build_dataset(cfg, "val", streamed_views=True)
        loader = build_loader(cfg, dataset, "val", batch_size=4)
        clips = [clip for batch in loader for clip in batch.streamed]
        streams.append([torch.cat(list(clip.view.chunks(3)), 1) for clip in clips])
    assert len(streams[0]) == 7
    assert all(torch.equal(one, other) for one, other in zip(*streams, strict=True))


def test_segments_groups_and_several_labels_survive(tmp_path: Path) -> None:
    for i in range(3):
        write_video(tmp_path / f"a b {i}.mp4", 30, size=(32, 32))
    rows = ["a b 0.mp4,0;2,0,0.4,x", "a b 1.mp4,1,0.2,1,y", "a b 0.mp4,2,0.4,1.2,x", "a b 2.mp4,1,0,1,z"]
    text = "\n".join(["path,label,start,end,group", *rows])
    (tmp_path / "train.csv").write_text(text)
    options = ("--separator", ",", "--prefix", str(tmp_path), "--keep-order")
    assert prepare_shards(tmp_path / "train.csv", tmp_path / "s/train", *options) == 0
    found = read_annotations(tmp_path / "s", multi_label=True)
    # The rows of one file stand together.
    assert originals(found) == ["a b 0.mp4", "a b 0.mp4", "a b 1.mp4", "a b 2.mp4"]
    np.testing.assert_array_equal(found.labels(), [[1, 0, 1], [0, 0, 1], [0, 1, 0], [0, 1, 0]])
    assert [found.segment(i) for i in range(4)] == [(0.0, 0.4), (0.4, 1.2), (0.2, 1.0), (0.0, 1.0)]
    assert list(found.groups) == ["x", "x", "y", "z"]
    changes = (*SHARDS, "DATA.MULTI_LABEL", True, "MODEL.LOSS_FUNC", "bce_logit", "MODEL.HEAD_ACT", "sigmoid")
    plain_changes = ("DATA.PATH_LABEL_SEPARATOR", ",", "DATA.PATH_PREFIX", str(tmp_path), *changes[4:])
    (tmp_path / "val.csv").write_text("\n".join([text.splitlines()[0], *(rows[i] for i in (0, 2, 1, 3))]))
    (tmp_path / "s/val").symlink_to("train")
    plain, sharded = (
        loader_of(config(folder, *options), "val")
        for folder, options in ((tmp_path, plain_changes), (tmp_path / "s", changes))
    )
    assert same_batches(iter(plain), iter(sharded)) == 1
    assert list(plain.dataset.groups or ()) == list(sharded.dataset.groups or ())


def test_a_bad_member_is_named_and_another_is_substituted(tmp_path: Path) -> None:
    good = write_video(tmp_path / "v.mp4", 16, size=(40, 40)).read_bytes()
    members = {}
    for i in range(5):
        members |= {f"00012{i}.cls": b"1", f"00012{i}.mp4": b"damaged" * 99 if i == 3 else good}
    write_tar(tmp_path / "train/shard-000001.tar", members)
    name = f"{tmp_path}/train/shard-000001.tar: 000123.mp4"
    cfg = config(tmp_path, *SHARDS)
    dataset = build_dataset(cfg, "train")
    (broken,) = dataset[3].broken  # type: ignore[union-attr]
    assert (broken.path, broken.reason) == (name, "not a video")
    (tmp_path / "val").symlink_to("train")
    item = build_dataset(cfg, "val")[3]
    assert (item.path, item.reason) == (name.replace("/train/", "/val/"), "not a video")
    # An archive that vanishes while it is read: no advice about the prefix of lists.
    (tmp_path / "train/shard-000001.tar").unlink()
    item = build_dataset_without_scan(dataset)[0]
    assert item.reason == "missing"
    assert "PATH_PREFIX" not in item.detail


def build_dataset_without_scan(dataset: Any) -> VideoDataset:
    """Returns the same data set without substitutes."""
    dataset._substitute = False
    return dataset


def test_the_shards_of_each_split_may_be_named_by_a_pattern(in_order: Path) -> None:
    for pattern in ("{split}/shard-{000000..000001}.tar", "{split}/shard-00000[01].tar"):
        cfg = config(in_order / pattern, *SHARDS)
        assert all(": 0000" in path for path in build_dataset(cfg, "val").paths)


def test_training_shards_are_not_taken_for_validation(in_order: Path) -> None:
    with pytest.raises(ConfigError, match=r"must contain \{split\}.*validation would read the shards of tr"):
        check_for_run(config(in_order / "train/shard-{000000..000001}.tar", *SHARDS))
    check_for_run(config(in_order / "train/*.tar", *SHARDS, "TRAIN.ENABLE", False))
    check_for_run(config(in_order / "{split}/*.tar", *SHARDS))


def check_for_run(cfg: CfgNode) -> None:
    if problems := list(check_inputs(cfg)):
        raise ConfigError(*problems)


# ------------------------------------------------------------------------------------------- feature names


def test_features_have_the_names_that_they_have_for_the_list(colour_videos: Path, in_order: Path) -> None:
    for split in ("train", "val"):
        named = []
        for folder, name in ((colour_videos, "kinetics"), (in_order, "shards")):
            cfg = config(folder, "TRAIN.DATASET", name)
            annotations = build_dataset(cfg, split)._annotations  # type: ignore[attr-defined]
            names = build_feature_names(cfg, annotations)
            named.append([names(path) for path in annotations.paths])
        assert named[0] == named[1]
        assert named[0][0] == f"{split}_0.mp4"


def test_features_of_foreign_shards_are_named_by_archive_and_member(tmp_path: Path) -> None:
    write_tar(tmp_path / "train/shard-1.tar", {"7.mp4": b"v", "7.cls": b"1"})
    names = build_feature_names(config(tmp_path, *SHARDS), annotations := read_annotations(tmp_path))
    assert [names(path) for path in annotations.paths] == ["train/shard-1/7.mp4"]


def test_a_recorded_path_never_leaves_the_cache(tmp_path: Path) -> None:
    members = {"7.mp4": b"v", "7.json": b'{"label": 1, "path": "/x/../../../etc/passwd"}'}
    write_tar(tmp_path / "train/shard-1.tar", members)
    names = build_feature_names(config(tmp_path, *SHARDS), annotations := read_annotations(tmp_path))
    assert names(annotations.paths[0]) == "etc/passwd"
    members["7.json"] = b'{"label": 1, "path": "../passwd"}'
    write_tar(tmp_path / "train/shard-1.tar", members)
    names = build_feature_names(config(tmp_path, *SHARDS), annotations := read_annotations(tmp_path))
    assert names(annotations.paths[0]) == "%2E%2E/passwd"


def test_two_videos_of_one_recorded_path_cannot_share_a_cache(tmp_path: Path) -> None:
    for number in (1, 2):
        members = {"7.mp4": b"v", "7.json": b'{"label": 1, "path": "a.mp4"}'}
        write_tar(tmp_path / f"train/shard-{number}.tar", members)
    with pytest.raises(ConfigError, match=r"shard-1\.tar: 7\.mp4 and .*shard-2\.tar: 7\.mp4 are both"):
        build_feature_names(config(tmp_path, *SHARDS), read_annotations(tmp_path))


# ------------------------------------------------------------------------------------------------ sampler


STARTS = [0, 6, 6, 10, 22, 30, 40]


def order(together: int, *, epoch: int, seed: int = 0) -> list[int]:
    sampler = ShardSampler(ShardOrder(np.array(STARTS), together), 2, seed=seed)
    sampler.set_position(epoch)
    return [ref.index for batch in sampler for ref in batch]


@pytest.mark.parametrize("together", [1, 2, 3, 5])
@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_each_video_is_read_once_per_epoch_and_few_shards_at_a_time(together: int, epoch: int) -> None:
    found = order(together, epoch=epoch)
    assert sorted(found) == list(range(40))
    shard_of = np.searchsorted(STARTS, found, side="right").tolist()
    # The positions from the first to the last video of a shard overlap with those of few other shards.
    spans = [(shard_of.index(s), 39 - shard_of[::-1].index(s)) for s in set(shard_of)]
    open_shards = [sum(first <= position <= last for first, last in spans) for position in range(40)]
    assert max(open_shards) <= together


@pytest.mark.parametrize("together", [0, 6, 16])
def test_few_shards_are_shuffled_as_a_list(together: int) -> None:
    sampler = TrainSampler(40, 2, seed=3)
    sampler.set_position(2)
    listed = [ref.index for batch in sampler for ref in batch]
    assert order(together, epoch=2, seed=3) == listed


def test_a_resumed_epoch_continues_with_the_same_videos(in_order: Path) -> None:
    cfg = config(in_order, *SHARDS, "DATA.SHUFFLE_SHARDS", 2)
    one, other = loader_of(cfg, "train"), loader_of(cfg, "train")
    assert isinstance(one.batch_sampler, ShardSampler)
    one.batch_sampler.set_position(1)
    batches = list(one)
    other.batch_sampler.set_position(1, 2)  # type: ignore[attr-defined]
    assert same_batches(iter(batches[2:]), iter(other)) == len(batches) - 2 > 0


def test_the_key_is_checked() -> None:
    cfg = make_config({"DATA.SHUFFLE_SHARDS": -1}, checked=False)
    assert "DATA.SHUFFLE_SHARDS = -1: must be 0 or more" in check(cfg)
