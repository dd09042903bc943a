"""``TEST.ORDER_REPORT``: the same videos with their frames in other orders.

V videos, T frames, K classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from slowfast.config.check import check
from slowfast.datasets.build import build_dataset
from slowfast.datasets.clip import Clip, normalize
from slowfast.datasets.map_dataset import MapDataset
from slowfast.datasets.views.frame_order import GIVEN, REVERSED, SHUFFLED, STILL
from slowfast.distributed.world import World, free_local_address
from slowfast.engine import evaluator
from slowfast.engine.evaluator import build_evaluator
from slowfast.engine.prediction_file import VideoScores, load_predictions
from slowfast.engine.run import run
from slowfast.engine.testing.order_report import compare_orders, order_path, run_order_tests
from slowfast.interrupt import Interrupt
from slowfast.models.build import MODEL_REGISTRY
from tests.support.processes import run_all, run_forked
from tests.support.run_results import metrics_of
from tests.support.tiny import Tiny, tiny_config

FULL_VIDEO = ("TRAIN.EVAL_FULL_VIDEO", True, "TEST.NUM_ENSEMBLE_VIEWS", 1)


def test_a_report_has_accuracies_and_exchanged_classes() -> None:
    """Counts by hand: classes 0 and 1 are exchanged by reversal, 2 and 3 are not."""
    labels = [0, 0, 0, 1, 1, 1, 2, 2, 3, 3]
    given = [0, 0, 0, 1, 1, 2, 2, 2, 3, 0]  # 8 of 10
    reverse = [1, 1, 0, 0, 0, 1, 2, 3, 3, 1]  # of the correct ones 2 of 3, then 2 of 2
    shuffled = [0, 1, 0, 1, 0, 1, 2, 2, 2, 2]
    names = ["right", "left", "near", "far"]
    tests = {
        GIVEN: scores(given, labels),
        SHUFFLED: scores(shuffled, labels),
        REVERSED: scores(reverse, labels),
    }
    report = compare_orders(tests, names)
    assert report.num_videos == 10
    assert [(one.order, one.top1) for one in report.accuracies] == [
        (GIVEN, 80.0),
        (SHUFFLED, 60.0),
        (REVERSED, 40.0),
    ]
    np.testing.assert_allclose(report.accuracies[0].per_class, [1, 2 / 3, 1, 0.5])
    (pair,) = report.pairs
    assert (pair.first, pair.second) == (0, 1)
    assert (pair.first_to_second, pair.second_to_first) == (pytest.approx(2 / 3), 1.0)
    assert "reversal exchanges right and left: 67 % and 100 % of their videos" in report.describe()
    content = report.to_dict()
    assert content["orders"]["reversed"]["per_class_acc"]["near"] == 50.0
    assert content["exchanged_by_reversal"][0]["classes"] == ["right", "left"]


def scores(predicted: list[int], labels: list[int], ids: list[int] | None = None) -> VideoScores:
    return VideoScores(
        video_ids=np.array(ids or range(len(labels))),
        scores=np.eye(4, dtype=np.float32)[predicted],
        labels=np.array(labels),
        num_views=np.ones(len(labels), np.int64),
        broken=(),
    )


def test_videos_without_scores_in_one_order_are_left_out_of_all() -> None:
    tests = {GIVEN: scores([0, 0, 1], [0, 1, 1]), STILL: scores([0, 1], [0, 1], ids=[0, 2])}
    report = compare_orders(tests, ["a", "b", "c", "d"])
    assert report.num_videos == 2
    assert [one.top1 for one in report.accuracies] == [100.0, 100.0]
    assert np.isnan(report.accuracies[0].per_class[2:]).all()
    assert report.pairs == ()
    assert report.to_dict()["orders"]["still"]["per_class_acc"]["c"] is None


def test_each_order_shows_the_same_positions_with_its_own_frames(colour_videos: Path, tmp_path: Path) -> None:
    cfg = tiny_config(colour_videos, tmp_path, *FULL_VIDEO)
    given, reverse, still = (
        build_dataset(cfg, "test").in_order(order)[1] for order in (GIVEN, REVERSED, STILL)
    )
    for clip in (given, reverse, still):
        assert isinstance(clip, Clip)
        assert torch.equal(clip.positions, given.positions)
    assert torch.equal(reverse.frames, given.frames.flip(1))
    middle = given.frames.shape[1] // 2
    assert torch.equal(still.frames, given.frames[:, middle : middle + 1].expand_as(given.frames))
    assert not torch.equal(given.frames, reverse.frames)


class OwnClips(torch.utils.data.Dataset):
    """A user's data set of one clip of five numbered frames."""

    labels = (1,)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.arange(5, dtype=torch.uint8).view(1, 5, 1, 1).expand(3, -1, 2, 2), 1


@pytest.mark.parametrize(
    ("order", "expected"), [(GIVEN, [0, 1, 2, 3, 4]), (REVERSED, [4, 3, 2, 1, 0]), (STILL, [2] * 5)]
)
def test_clips_of_a_users_data_set_are_reordered_too(order: str, expected: list[int]) -> None:
    clip = MapDataset(OwnClips(), name="own", num_classes=2).in_order(order)[0]
    assert isinstance(clip, Clip)
    assert clip.frames[0, :, 0, 0].tolist() == expected
    assert clip.positions.tolist() == [0, 1, 2, 3, 4]


@MODEL_REGISTRY.register("FirstFrame")
class FirstFrame(Tiny):
    """A model that sees nothing but the first frame, for which orders therefore differ."""

    def forward(self, frames: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        return super().forward(frames[:, :, :1])


def first_frame_config(data: Path, output: Path, *changes: Any) -> Any:
    return tiny_config(
        *(data, output, *FULL_VIDEO, "MODEL.MODEL_NAME", "FirstFrame", "TRAIN.MAX_STEPS", 6),
        *("TEST.ORDER_REPORT", True, "TEST.SAVE_RESULTS_PATH", "found.npz", *changes),
    )


@pytest.mark.parametrize(
    ("key", "reason"),
    [("TEST.SHUFFLE_FRAMES", "frames as they are"), ("DATA.MULTI_LABEL", "of one class each")],
)
def test_settings_that_exclude_it_are_refused(key: str, reason: str, tmp_path: Path) -> None:
    cfg = tiny_config(tmp_path, tmp_path, "TEST.ORDER_REPORT", True).clone()
    cfg.defrost()
    cfg.merge_from_list([key, True])
    (problem,) = [problem for problem in check(cfg) if "ORDER_REPORT" in problem]
    assert f"must be False where {key} is True" in problem
    assert reason in problem


def test_a_run_reports_all_orders(colour_videos: Path, tmp_path: Path) -> None:
    cfg = first_frame_config(colour_videos, tmp_path)
    assert run_forked(run, cfg) == 0
    (line,) = metrics_of(tmp_path, "test_order")
    files = {
        order: load_predictions(order_path(tmp_path / "found.npz", order))
        for order in (SHUFFLED, REVERSED, STILL)
    }
    given = load_predictions(tmp_path / "found.npz")
    assert line["videos"] == len(given.labels)
    for order, found in files.items():
        assert line[f"top1_acc_{order}"] == pytest.approx(found.top1)
        assert found.meta["frame_order"] == order
        assert found.meta["seconds_per_video"] > 0
    assert line["top1_acc_given"] == pytest.approx(given.top1)
    # The first of the reversed frames is the last one.
    model = FirstFrame.from_config(cfg).eval()
    saved = torch.load(sorted((tmp_path / "checkpoints").glob("*.pyth"))[-1], weights_only=True)
    model.load_state_dict(saved["model_state"])
    clip = build_dataset(cfg, "test")[2]
    assert isinstance(clip, Clip)
    frames = normalize(clip.frames[None], tuple(cfg.DATA.MEAN), tuple(cfg.DATA.STD))
    with torch.no_grad():
        for order, index in ((REVERSED, -1), (STILL, frames.shape[2] // 2)):
            expected = model(frames[:, :, [index]]).softmax(1)[0]
            np.testing.assert_allclose(files[order].scores[2], expected.numpy(), atol=1e-5)
    assert "top-1 by the order of frames over" in (tmp_path / "stdout.log").read_text()


def test_the_list_is_not_read_again_for_other_orders(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = first_frame_config(colour_videos, tmp_path)
    dataset, model = build_dataset(cfg, "test"), FirstFrame.from_config(cfg)
    given = build_evaluator(cfg, "test", model, World(), Interrupt()).run()
    monkeypatch.setattr(evaluator, "build_dataset", lambda *_, **__: pytest.fail("the list is read again"))
    names = [str(k) for k in range(cfg.MODEL.NUM_CLASSES)]
    report = run_order_tests(cfg, model, dataset, World(), Interrupt(), given, names)
    assert report is not None
    assert report.num_videos == dataset.num_videos


def test_several_processes_report_the_same(colour_videos: Path, tmp_path: Path) -> None:
    assert run_forked(run, first_frame_config(colour_videos, tmp_path / "one")) == 0
    changes = ("TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH")
    weights = str(sorted((tmp_path / "one" / "checkpoints").glob("*.pyth"))[-1])
    options = (*changes, weights, "NUM_SHARDS", 2, "TEST.BATCH_SIZE", 2)
    configs = [
        first_frame_config(colour_videos, tmp_path / "two", *options, "SHARD_ID", shard) for shard in (0, 1)
    ]
    address = free_local_address()
    assert run_all(run, [(cfg, address) for cfg in configs]) == [0, 0]
    one, two = (metrics_of(tmp_path / name, "test_order")[0] for name in ("one", "two"))
    for name in ("videos", "top1_acc_given", "top1_acc_shuffled", "top1_acc_reversed", "top1_acc_still"):
        assert two[name] == pytest.approx(one[name]), name
