"""Runs with data sets and samplers of a user, from a file named in IMPORTS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode

from slowfast.datasets import build_dataset, construct_loader
from slowfast.datasets.annotations import Annotations
from slowfast.datasets.build import DATASET_REGISTRY, read_annotations
from slowfast.datasets.loading.loader import build_loader
from slowfast.engine.prediction_file import load_predictions
from slowfast.engine.run import run
from slowfast.errors import AnnotationError, ConfigError, DataError
from tests.support.processes import run_forked
from tests.support.run_results import metrics_of
from tests.support.tiny import tiny_config

USER_FILE = """
import numpy as np
import torch
from slowfast.datasets import DATASET_REGISTRY, SAMPLER_REGISTRY
from slowfast.datasets.loading.samplers import SampleRef

COLOURS = torch.tensor([[200, 60, 60], [60, 200, 60], [60, 60, 200]]).view(3, 3, 1, 1, 1)

@DATASET_REGISTRY.register()
class {name}(torch.utils.data.Dataset):
    '''As PySlowFast writes them.'''

    def __init__(self, cfg, mode, num_retries=10):
        self.mode, self._num_clips = mode, 1
        if mode == "test":
            self._num_clips = cfg.TEST.NUM_ENSEMBLE_VIEWS * cfg.TEST.NUM_SPATIAL_CROPS
        self._labels = [i % 3 for i in range(24 if mode == "train" else 6) for _ in range(self._num_clips)]
        self._path_to_videos = [f"{{mode}}/{{i}}.mp4" for i in range(len(self._labels))]

    def __len__(self):
        return len(self._labels)

    @property
    def num_videos(self):
        return len(self._labels)

    def __getitem__(self, index):
        label = self._labels[index]
        frames = (COLOURS[label] + 20 * torch.randn(3, 4, 32, 32)).clamp(0, 255) / 255
        frames = (frames - 0.45) / 0.225
        return [frames], label, index, torch.zeros(2), {{}}

@SAMPLER_REGISTRY.register("{name} in order")
class InOrder:
    def __init__(self, dataset, global_batch, *, rank, world_size, seed, repeats):
        self.steps, self.batch = len(dataset) // global_batch, global_batch
        assert sorted(set(dataset.labels.tolist())) == [0, 1, 2] and world_size == 1

    def __len__(self):
        return self.steps

    def set_position(self, epoch, step):
        self.epoch, self.step = epoch, step

    def __iter__(self):
        for step in range(self.step, self.steps):
            yield [SampleRef(self.epoch, step * self.batch + i) for i in range(self.batch)]

@SAMPLER_REGISTRY.register("{name} too long")
class TooLong(InOrder):
    def __len__(self):
        return self.steps + 1

@SAMPLER_REGISTRY.register("{name} too short")
class TooShort(InOrder):
    def __len__(self):
        return self.steps - 1

@SAMPLER_REGISTRY.register("{name} of another list")
class OtherList(InOrder):
    def __iter__(self):
        return ([SampleRef(ref.epoch, ref.index + 1) for ref in refs] for refs in super().__iter__())

@SAMPLER_REGISTRY.register("{name} integers")
class Integers(InOrder):
    def __iter__(self):
        return ([ref.index for ref in refs] for refs in super().__iter__())

@SAMPLER_REGISTRY.register("{name} of another size")
class OtherSize(InOrder):
    def __iter__(self):
        return (refs[:-1] for refs in super().__iter__())

@SAMPLER_REGISTRY.register("{name} without lists")
class WithoutLists(InOrder):
    def __iter__(self):
        return (ref.index for refs in super().__iter__() for ref in refs)

@SAMPLER_REGISTRY.register("{name} without a step")
class WithoutStep(InOrder):
    def __iter__(self):
        return iter(())

@SAMPLER_REGISTRY.register("{name} without positions")
class WithoutPositions:
    def __init__(self, dataset, global_batch, **others):
        pass
"""


@pytest.fixture
def configure(tmp_path: Path, colour_videos: Path) -> Callable[..., CfgNode]:
    """A configuration whose data set stands in a file of the user; the name differs from test to test."""

    def build(name: str, *changes: Any) -> CfgNode:
        file = tmp_path / f"{name}_file.py"
        file.write_text(USER_FILE.format(name=name.capitalize()))
        keys = ("IMPORTS", [str(file)], "TRAIN.DATASET", name, "TEST.DATASET", name, *changes)
        return tiny_config(colour_videos, tmp_path / "output", *keys)

    return build


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_set_class_of_a_users_file_trains_and_is_tested(
    configure: Callable[..., CfgNode], tmp_path: Path, workers: int
) -> None:
    """PySlowFast looks classes up by the name with a capital letter."""
    cfg = configure(f"mine{workers}", "DATA_LOADER.NUM_WORKERS", workers)
    assert run_forked(run, cfg) == 0
    steps = metrics_of(tmp_path / "output", "train_iter")
    assert len(steps) == 3 * 6
    assert steps[-1]["loss"] < 0.5 * steps[0]["loss"]
    predictions = load_predictions(tmp_path / "output" / "predictions.npz")
    assert predictions.num_views.tolist() == [2] * 6
    assert metrics_of(tmp_path / "output", "test_final")[0]["top1_acc"] == 100.0


def test_a_sampler_that_ends_before_its_length_is_an_error(
    configure: Callable[..., CfgNode], tmp_path: Path
) -> None:
    cfg = configure("long", "DATA_LOADER.TRAIN_SAMPLER", "Long too long", "TEST.ENABLE", False)
    assert run_forked(run, cfg) == 1
    log = (tmp_path / "output" / "stdout.log").read_text()
    assert "DATA_LOADER.TRAIN_SAMPLER: must yield 7 steps per epoch, as its len() states, and has" in log


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("integers", r"must yield lists of 4 SampleRef\(epoch, index\), .*; the first is \[0, 1, 2, 3\]"),
        ("of another size", r"must yield lists of 4 .*; the first is \[SampleRef\(epoch=0, index=0\)"),
        ("without lists", r"must yield lists of 4 .*; the first is 0"),
        ("without a step", r"must yield lists of 4 .*; the first is \(\)"),
        ("too short", r"must end after 5 steps, as its len\(\) states; it yields more per epoch"),
        ("without positions", "must have __len__, set_position and __iter__; WithoutPositions lacks one"),
    ],
)
def test_a_sampler_of_other_batches_is_refused(
    configure: Callable[..., CfgNode], name: str, message: str
) -> None:
    """Integers would be read as samples of epoch 0: the same crops in each epoch."""
    chosen = f"{name.split()[-1].capitalize()} {name}"  # the names of each file are registered once
    cfg = configure(chosen.split()[0], "DATA_LOADER.TRAIN_SAMPLER", chosen)
    dataset = build_dataset(cfg, "train")
    with pytest.raises(ConfigError, match=f"TRAIN_SAMPLER = '{chosen}': {message}"):
        build_loader(cfg, dataset, "train", batch_size=4)


def test_a_sampler_of_indices_beyond_the_data_set_is_an_error(configure: Callable[..., CfgNode]) -> None:
    cfg = configure("beyond", "DATA_LOADER.TRAIN_SAMPLER", "Beyond of another list")
    loader = construct_loader(cfg, "train")
    with pytest.raises(DataError, match=r"TRAIN_SAMPLER: must yield indices from 0 to 23, .* one is 24"):
        list(loader)


def test_a_sampler_of_a_users_file_decides_the_order(configure: Callable[..., CfgNode]) -> None:
    cfg = configure("ordered", "DATA_LOADER.TRAIN_SAMPLER", "Ordered in order")
    loader = construct_loader(cfg, "train")
    loader.batch_sampler.set_position(2, 4)  # type: ignore[attr-defined]
    assert [batch.video_id.tolist() for batch in loader] == [[16, 17, 18, 19], [20, 21, 22, 23]]
    cfg.defrost()
    cfg.DATA_LOADER.TRAIN_SAMPLER = "shufle"
    with pytest.raises(ConfigError, match=r"DATA_LOADER\.TRAIN_SAMPLER = 'shufle': .*did you mean shuffle"):
        construct_loader(cfg, "train")


def test_construct_loader_gives_each_view_once_in_evaluation(colour_videos: Path, tmp_path: Path) -> None:
    loader = construct_loader(tiny_config(colour_videos, tmp_path), "test")
    views = [pair for b in loader for pair in zip(b.video_id.tolist(), b.view_id.tolist(), strict=True)]
    assert views == [(video, view) for video in range(7) for view in range(2)]


def test_lists_have_several_classes_per_video_and_segments() -> None:
    found = Annotations.from_lists(["a", "b"], [[0, 2], []], 3, segments=[(0, 4), (2.5, 9)])
    assert found.labels().tolist() == [[1, 0, 1], [0, 0, 0]]
    assert (found.segment(0), found.segment(1)) == ((0.0, 4.0), (2.5, 9.0))
    assert Annotations.from_lists(["a", "b"], np.array([1, 0]), 3).labels().tolist() == [1, 0]
    assert len(Annotations.from_lists([], [], 3)) == 0


def test_lists_stay_in_host_memory() -> None:
    """Whatever a program sets by ``torch.set_default_device``; "meta" has no values."""
    with torch.device("meta"):
        found = Annotations.from_lists(["a", "b"], [[0, 2], [1]], 3, segments=[(0, 4), (2.5, 9)])
        assert found.segment(1) == (2.5, 9.0)
        assert found.label(0).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "segments", "message"),
    [
        ([0], None, "2 paths and 1 labels; give one per path"),
        ([0, 3], None, "label 3: must be 0 to 2"),
        ([0, -1], None, "label -1: must be 0 to 2"),
        ([0.5, 1], None, "label .*0.5.*: must be a class index, an integer"),
        (["0", "1"], None, "label .*'0'.*: must be a class index, an integer"),
        ([[0], [3]], None, "label 3: must be 0 to 2"),
        ([[0, 1, 0], [1, 0, 0]], None, r"labels .*: must be different indices, not a value per class"),
        ([0, 1], [(0, 1)], "2 paths and 1 segments; give one per path"),
        ([0, [1]], None, "the labels .*: must be one index per video, or a list of them per video"),
        ([[1], 0], None, "the labels .*: must be one index per video, or a list of them per video"),
        ([0, 1], [(0, 1), (3, 3)], r"segment \[3.0, 3.0\]: must end after its start"),
        ([0, 1], [(0, 1), (float("nan"), 3)], r"segment \[nan, 3.0\]: must end after its start"),
        ([0, 1], [(0, 1, 2), (0, 1, 2)], r"segment \(0, 1, 2\): must be start and end in seconds"),
        ([0, 1], [0, 1], "segment 0: must be start and end in seconds"),
    ],
)
def test_wrong_lists_are_refused(labels: Any, segments: Any, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        Annotations.from_lists(["a", "b"], labels, 3, segments=segments)


def test_the_message_about_wrong_lists_names_the_data_set(tmp_path: Path, colour_videos: Path) -> None:
    file = tmp_path / "lists.py"
    file.write_text(
        "from slowfast.datasets import DATASET_REGISTRY\n"
        "from slowfast.datasets.annotations import Annotations\n"
        "@DATASET_REGISTRY.register()\n"
        "def wrong_lists(cfg, split):\n"
        "    return Annotations.from_lists(['a.mp4'], [99], 3)\n"
    )
    cfg = tiny_config(colour_videos, tmp_path, "IMPORTS", [str(file)], "TRAIN.DATASET", "wrong_lists")
    with pytest.raises(
        AnnotationError, match=r"^TRAIN.DATASET = 'wrong_lists', split val: label 99: must be 0 to 2"
    ):
        build_dataset(cfg, "val")


def test_what_needs_annotations_refuses_clips(configure: Callable[..., CfgNode]) -> None:
    cfg = configure("refused")
    build_dataset(cfg, "train")
    with pytest.raises(
        ConfigError, match=r"DATASET = .refused.: Refused is a data set of clips.*Annotations"
    ):
        read_annotations(cfg, "train")
    cfg.defrost()
    cfg.DATA.FEATURES = "cache"
    with pytest.raises(ConfigError, match=r"DATA.FEATURES = 'cache': must be ''"):
        build_dataset(cfg, "train")
    cfg.DATA.FEATURES, cfg.DATA.TEST_WHOLE_PICTURE, cfg.TEST.DATASET = "", True, "refused"
    build_dataset(cfg, "train")
    with pytest.raises(
        ConfigError, match=r"WHOLE_PICTURE = True: must be False, because TEST\.DATASET = 'ref"
    ):
        build_dataset(cfg, "test")
    assert "Refused" in DATASET_REGISTRY
