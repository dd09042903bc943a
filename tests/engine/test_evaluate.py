"""Evaluation: each view is scored once and merged by video, with any number of processes."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from slowfast.datasets.clip import BrokenVideo, ClipBatch, Normalization
from slowfast.distributed.world import World
from slowfast.engine.evaluate import Evaluation, ViewScorer, evaluate
from slowfast.engine.evaluator import build_evaluator
from slowfast.engine.prediction_file import load_predictions, predictions_of, save_predictions
from slowfast.engine.training.training_log import validation_metrics
from slowfast.errors import ConfigError, DataError, NotFiniteError
from slowfast.features import file_reader
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.log import close_logging
from slowfast.models.losses import LOSS_REGISTRY, LossFunction, bce_logit, cross_entropy
from slowfast.models.precision import Precision
from slowfast.models.score_activations import SCORE_ACTIVATION_REGISTRY
from tests.support.processes import run_ranks
from tests.support.tiny import Tiny, tiny_config


class FirstPixels(nn.Module):
    """Returns the first three bytes of a clip's first row as logits."""

    def forward(self, frames: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        return frames[:, 0, 0, 0, :3]


def batch(*views: tuple[int, int, int, list[int]], broken: tuple[BrokenVideo, ...] = ()) -> ClipBatch:
    """Builds a batch from tuples (video, view, label, logits)."""
    frames = torch.zeros(len(views), 3, 1, 1, 3, dtype=torch.uint8)
    for row, view in enumerate(views):
        frames[row, 0, 0, 0] = torch.tensor(view[3])
    video, number, label = (torch.tensor([view[k] for view in views], dtype=torch.int64) for k in range(3))
    return ClipBatch(
        frames,
        positions=torch.zeros(len(views), 1, dtype=torch.int64),
        mask=None,
        label=label,
        video_id=video,
        view_id=number,
        broken=broken,
    )


def run(
    batches: Iterable[ClipBatch],
    model: nn.Module | None = None,
    *,
    head_act: str = "none",
    loss: LossFunction | None = None,
    ensemble: str = "sum",
    world: World = World(),  # noqa: B008 (immutable)
    interrupt: Interrupt | None = None,
) -> Any:
    scorer = ViewScorer(
        model=model or FirstPixels(),
        activation=SCORE_ACTIVATION_REGISTRY.get(head_act),
        normalization=Normalization((0.0,) * 3, (1 / 255,) * 3),  # does not change the bytes
        loss=loss,
        device=world.device,
        precision=Precision(),
    )
    interrupt = interrupt or Interrupt()
    return evaluate(scorer, batches, num_classes=3, ensemble=ensemble, world=world, interrupt=interrupt)


def test_views_of_a_video_in_several_batches_are_merged() -> None:
    batches = [batch((0, 0, 1, [9, 1, 0]), (1, 0, 2, [0, 0, 5])), batch((0, 1, 1, [0, 30, 0]))]
    found = run(batches)
    assert found.video_ids.tolist() == [0, 1]
    np.testing.assert_allclose(found.scores, [[4.5, 15.5, 0], [0, 0, 5]], atol=1e-4)
    assert (found.top1, found.num_views.tolist()) == (100.0, [2, 1])
    highest = run(batches, ensemble="max")
    np.testing.assert_allclose(highest.scores[0], [9, 30, 0], atol=1e-4)


def test_broken_videos_are_listed_and_never_scored() -> None:
    broken = BrokenVideo(1, "b.mp4", "truncated")
    found = run(
        [batch((0, 0, 0, [5, 0, 0]), broken=(broken,)), batch(broken=(BrokenVideo(2, "c", "missing"),))]
    )
    assert found.video_ids.tolist() == [0]
    assert [video.reason for video in found.broken] == ["truncated", "missing"]


def test_a_video_with_scores_that_are_not_finite_is_broken() -> None:
    class Broken(FirstPixels):
        def forward(self, *given: Any, **more: Any) -> Tensor:
            return super().forward(*given, **more).log()  # the log of 0

    views = (1, 0, 0, [5, 1, 1])
    found = run([batch((0, 0, 0, [5, 0, 1]), views)], Broken(), loss=cross_entropy)
    assert [video.reason for video in found.broken] == ["not finite"]
    assert found.video_ids.tolist() == [1]
    alone = run([batch(views)], Broken(), loss=cross_entropy)
    assert found.loss == pytest.approx(alone.loss), "the loss is that of the other videos"


def test_clips_that_a_model_rejects_as_not_finite_are_broken() -> None:
    class Rejecting(FirstPixels):
        def forward(self, frames: Tensor, *given: Any) -> Tensor:
            logits = super().forward(frames)
            if bad := (logits[:, 0] > 100).nonzero().flatten().tolist():
                raise NotFiniteError("the features are NaN", bad)
            return logits

    views = batch((0, 0, 0, [5, 0, 1]), (1, 0, 0, [200, 1, 1]), (2, 0, 1, [0, 9, 0]), (3, 0, 0, [201, 0, 0]))
    found = run([views], Rejecting())
    assert found.video_ids.tolist() == [0, 2]
    assert [(v.video_id, v.reason) for v in found.broken] == [(1, "not finite"), (3, "not finite")]
    assert "the features are NaN" in found.broken[0].detail


def test_a_view_that_is_read_twice_is_an_error() -> None:
    with pytest.raises(DataError, match="view 0 of video 4"):
        run([batch((4, 0, 0, [1, 0, 0])), batch((4, 0, 0, [1, 0, 0]))])


def test_a_video_that_is_not_read_is_an_error() -> None:
    found = run([batch((0, 0, 0, [1, 0, 0]), (1, 0, 0, [1, 0, 0]), broken=(BrokenVideo(2, "c", "missing"),))])
    with pytest.raises(DataError, match=r"1 of 4 videos .* \[3\]"):
        found.check_complete(4)


def test_multi_label_scores_give_mean_average_precision() -> None:
    views = batch((0, 0, 0, [3, 0, 1]), (1, 0, 0, [1, 2, 0]))
    views = replace(views, label=torch.tensor([[1.0, 0, 1], [0, 1, 0]]))
    found = run([views])
    assert found.multi_label
    assert found.mean_average_precision == pytest.approx(1.0)


def test_softmax_scores_of_videos_with_several_classes_are_warned_about(
    colour_videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss of the user may be meant for softmax; for bce_logit the configuration is refused."""
    monkeypatch.setattr(LOSS_REGISTRY, "_entries", dict(LOSS_REGISTRY._entries))
    LOSS_REGISTRY.register("own", labels="values")(bce_logit)
    options = ("DATA.MULTI_LABEL", True, "MODEL.LOSS_FUNC", "own", "MODEL.HEAD_ACT")
    for activation, warned in (("sigmoid", False), ("softmax", True)):
        cfg = tiny_config(colour_videos, tmp_path, *options, activation)
        build_evaluator(cfg, "test", Tiny(), World(), Interrupt())
        assert ("sigmoid is usual for videos of several classes" in caplog.text) == warned


@pytest.mark.parametrize(
    ("logits", "head_act", "warned"),
    [
        ([[1, 0, 0], [0, 1, 0]], "softmax", True),
        ([[1, 0, 0], [0, 1, 0]], "none", False),
        ([[1, 0, 0], [1, 1, 0]], "softmax", False),  # the second does not sum to 1
        ([[1, 0, 0], [0, 3, 254]], "softmax", False),
    ],
)
def test_outputs_that_are_scores_already_are_warned_about_once(
    logits: list[list[int]], head_act: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """PySlowFast's models apply the activation themselves in evaluation."""
    close_logging()  # a new run
    views = batch(*((video, 0, 0, row) for video, row in enumerate(logits)))
    for _ in range(2):
        run([views], head_act=head_act)
    assert caplog.text.count("MODEL.HEAD_ACT softmax is applied to them once more") == warned


def test_a_loss_of_each_clip_is_refused_with_the_remedy() -> None:
    views = batch((0, 0, 0, [5, 0, 1]), (1, 0, 1, [0, 3, 0]))
    with pytest.raises(ConfigError, match=r"MODEL.LOSS_FUNC: must return one value.*\(2,\).*losses.mean\(\)"):
        run([views], loss=LOSS_REGISTRY.forms_of("cross_entropy").each)


@pytest.mark.parametrize(
    ("activation", "returned"),
    [(lambda logits: None, "None"), (lambda logits: logits[:, :2], r"a tensor of shape \(1, 2\)")],
)
def test_scores_of_another_shape_than_the_logits_are_refused(
    activation: Any, returned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCORE_ACTIVATION_REGISTRY._entries, "own", activation)
    with pytest.raises(ConfigError, match=rf"MODEL.HEAD_ACT: must return .*\(1, 3\), .* returned {returned}"):
        run([batch((0, 0, 0, [5, 0, 1]))], head_act="own")


def test_a_video_whose_score_activation_gives_nan_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORE_ACTIVATION_REGISTRY._entries, "own", lambda logits: (logits - 3).sqrt())
    found = run([batch((0, 0, 0, [5, 3, 4]), (1, 0, 0, [5, 1, 1]))], head_act="own")
    assert found.video_ids.tolist() == [0]
    assert [(video.video_id, video.reason) for video in found.broken] == [(1, "not finite")]


def test_a_signal_ends_an_evaluation_between_two_batches() -> None:
    interrupt = Interrupt()
    interrupt.signum = 2
    with pytest.raises(Interrupted):
        run([batch((0, 0, 0, [1, 0, 0]))], interrupt=interrupt)


def test_predictions_are_read_as_they_were_saved(tmp_path: Path) -> None:
    broken = BrokenVideo(1, "b, with comma.mp4", "truncated", "at 3 s")
    found = run([batch((0, 0, 1, [1, 9, 0]), (2, 0, 2, [4, 0, 0]), broken=(broken,))])
    dataset: Any = SimpleNamespace(paths=["a.mp4", "b.mp4", "c.mp4"], segments=None)
    saved = predictions_of(found, dataset, ["left", "right", "up"], {"top1_acc": 50.0})
    save_predictions(tmp_path / "predictions.npz", saved)
    read = load_predictions(tmp_path / "predictions.npz")
    np.testing.assert_array_equal(read.scores, found.scores)
    assert (read.paths, read.broken, read.meta) == (["a.mp4", "c.mp4"], (broken,), {"top1_acc": 50.0})
    rows = (tmp_path / "predictions.csv").read_text().splitlines()
    assert rows[1] == "0,a.mp4,right,right,9,1,1,"
    assert rows[3] == '1,"b, with comma.mp4",,,,,,truncated: at 3 s'
    with pytest.raises(DataError, match="predictions file"):
        load_predictions(tmp_path / "predictions.csv")


def test_a_predictions_file_that_unpacks_to_far_more_than_its_size_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_reader, "_FREE_BYTES", 10_000)
    np.savez_compressed(tmp_path / "predictions.npz", broken_ids=np.zeros(1_000_000))
    with pytest.raises(DataError, match=r"broken_ids\.npy would unpack from [\d,]+ to 8,000,128 bytes"):
        load_predictions(tmp_path / "predictions.npz")


def test_segments_are_saved_with_their_seconds(tmp_path: Path) -> None:
    found = run([batch((0, 0, 1, [1, 9, 0]), (2, 0, 2, [4, 0, 0]))])
    segments = np.array([[0, 1.5], [2, 3], [4, 6]], np.float64)
    dataset: Any = SimpleNamespace(paths=["v/a.mp4"] * 3, segments=segments)
    saved = predictions_of(found, dataset, ["left", "right", "up"], {})
    save_predictions(tmp_path / "predictions.npz", saved)
    read = load_predictions(tmp_path / "predictions.npz")
    assert [read.segment(row) for row in (0, 1)] == [(0, 1.5), (4, 6)]
    assert read.short_name(0) == "v/a.mp4, 0 to 1.5 s"
    header, first, second = (tmp_path / "predictions.csv").read_text().splitlines()
    assert header.endswith("problem,start,end")
    assert (first, second) == ("0,v/a.mp4,right,right,9,1,1,,0,1.5", "2,v/a.mp4,up,left,4,0,1,,4,6")


def _evaluate_rank(world: World, data: Path, output: Path) -> None:
    torch.manual_seed(0)
    cfg = tiny_config(data, output)
    evaluator = build_evaluator(cfg, "test", Tiny(), world, Interrupt())
    found = evaluator.run()
    assert (found is not None) == world.is_main
    if found is not None:
        predictions = predictions_of(found, evaluator.dataset, "abc", {"loss": found.loss})
        save_predictions(output / f"{world.size}.npz", predictions)


def test_any_number_of_processes_gives_the_same_scores(colour_videos: Path, tmp_path: Path) -> None:
    for size in (1, 2, 3):
        assert run_ranks(_evaluate_rank, size, colour_videos, tmp_path) == [0] * size
    one, *others = (load_predictions(tmp_path / f"{size}.npz") for size in (1, 2, 3))
    assert one.video_ids.tolist() == list(range(7))
    assert one.num_views.tolist() == [2] * 7
    for other in others:
        assert other.paths == one.paths
        assert other.num_views.tolist() == one.num_views.tolist()
        np.testing.assert_allclose(other.scores, one.scores, atol=1e-6)
        assert other.meta["loss"] == pytest.approx(one.meta["loss"], abs=1e-6)
    tables = [(tmp_path / f"{size}.csv").read_text().splitlines() for size in (1, 2, 3)]
    names = [[line.split(",")[:4] for line in table] for table in tables]
    assert names[0] == names[1] == names[2]


def _is_stopped(world: World) -> int:
    """Rank 1 is asked to stop in its last batch, while rank 0 waits for the scores of rank 1."""
    views = [batch((world.rank + 2 * i, 0, 1, [9, 1, 0])) for i in range(1 + world.rank)]
    interrupt = Interrupt()

    def batches() -> Iterator[ClipBatch]:
        for view in views:
            if world.rank == 1 and view is views[-1]:
                interrupt.request(signal.SIGTERM)
            yield view

    try:
        run(batches(), world=world, interrupt=interrupt)
    except Interrupted as stopped:
        return stopped.exit_code
    return 1


def test_an_evaluation_that_is_stopped_on_one_rank_is_stopped_on_all() -> None:
    assert run_ranks(_is_stopped, 2) == [143, 143]


def test_metrics_of_unequal_classes_are_in_the_log_lines() -> None:
    """Nine of ten videos have class 0, which a model always predicts."""
    scores = np.tile(np.array([0.9, 0.1], np.float32), (10, 1))
    scores[9] = [0.6, 0.4]  # the only video of class 1 has the highest score of class 1
    labels = np.array([0] * 9 + [1])
    found = Evaluation(
        video_ids=np.arange(10), scores=scores, labels=labels, num_views=np.ones(10, np.int64), broken=(),
        loss=0.5, seconds=1.0,
    )  # fmt: skip
    logged = validation_metrics(found)
    assert logged["top1_err"] == pytest.approx(10.0)
    assert logged["balanced_acc"] == pytest.approx(50.0)
    assert logged["macro_f1"] == pytest.approx(100 * (2 * 9 / 19) / 2)
    assert logged["auroc"] == 1.0
    top1 = found.intervals["top1_acc"]
    assert top1.low < 0.9 < top1.high
