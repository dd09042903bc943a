"""The predictor in other programs: notebooks, threads, trainings, and what they hand over by mistake."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode

import vtn
from slowfast.errors import InputError
from slowfast.video.frame_times import FrameTimes
from tests.support.clips.backbone import tiny_clip_model
from vtn import Predictor, VideoFeatures
from vtn.explaining.video import ExplanationRequest
from vtn.transformers import VTNForVideoClassification


@pytest.fixture(scope="module")
def predictor(published: Path) -> Predictor:
    return Predictor(published, device="cpu")


def test_what_is_not_a_source_is_named(published: Path) -> None:
    model = vtn.create_model(published)
    for wrong, remedy in (
        (torch.nn.DataParallel(model), ".module"),
        (torch.compile(model, backend="eager"), "._orig_mod"),
        (VTNForVideoClassification.from_vtn(model), ".vtn"),
        (model.state_dict(), "must be a path"),
        (None, "must be a path"),
    ):
        with pytest.raises(InputError, match=re.escape(remedy)):
            Predictor(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("views", [4, (2,), (2.5, 3), "43", (1, 2, 3), (1, [2]), np.zeros((2, 2))])
def test_what_is_not_a_number_of_views_is_named(published: Path, views: Any) -> None:
    with pytest.raises(InputError, match="must be clips per video and crops per clip"):
        Predictor(published, device="cpu", views=views)


def test_what_is_not_a_number_is_named(predictor: Predictor, published: Path, videos: Path) -> None:
    """Texts in place of numbers ended in TypeError, which named no argument."""
    wrong: Any = "25"
    calls: dict[str, Callable[[], object]] = {
        "fps": lambda: Predictor(published, device="cpu", fps=wrong),
        "batch_size": lambda: Predictor(published, device="cpu", batch_size=wrong),
        "workers": lambda: Predictor(published, device="cpu", workers=wrong),
        "video_fps": lambda: predictor(videos / "20.mp4", video_fps=wrong),
        "window_seconds": lambda: predictor(videos / "20.mp4", window_seconds=wrong),
        "time_limit": lambda: next(predictor.stream([videos / "20.mp4"], time_limit=wrong)),
        "last_seconds": lambda: next(predictor.follow(videos / "20.mp4", last_seconds=wrong)),
    }
    for name, call in calls.items():
        with pytest.raises(InputError, match=f"{name} = '25'.*: must be "):
            call()


def test_what_is_not_a_request_is_named(predictor: Predictor, videos: Path) -> None:
    wrong: Any = "c1"
    with pytest.raises(InputError, match="request = 'c1': must be an ExplanationRequest"):
        predictor.explain(videos / "20.mp4", request=wrong)
    wrong = ["c1"]
    with pytest.raises(InputError, match=r"class \['c1'\]: must be a name of a class"):
        predictor.explain(videos / "20.mp4", request=ExplanationRequest(label=wrong))
    with pytest.raises(InputError, match="stride_seconds = 0: must be above 0 and finite"):
        predictor.explain(videos / "missing.mp4", request=ExplanationRequest(stride_seconds=0))
    with pytest.raises(InputError, match=r"for one path give \[path\]"):
        next(predictor.measure_faithfulness(str(videos / "20.mp4")))


def test_a_predictor_in_place_of_its_model_is_named(predictor: Predictor) -> None:
    """It ended in AttributeError for a method of networks."""
    given: Any = predictor
    features = VideoFeatures(torch.zeros(4, 24), FrameTimes(np.arange(4) / 2, 2.0), np.arange(4))
    for call in (
        lambda: vtn.score_video(given, features),
        lambda: vtn.score_windows(given, features, 1, 1),
        lambda: vtn.VideoStream(given),
    ):
        with pytest.raises(InputError, match=r"model is a Predictor: must be a model.*predictor\.model"):
            call()


def test_numbers_of_views_may_be_an_array(published: Path, videos: Path) -> None:
    found, expected = (
        Predictor(published, device="cpu", views=views)(videos / "20.mp4").scores
        for views in (np.array([2, 3]), (2, 3))
    )
    np.testing.assert_array_equal(found, expected)


def test_a_path_is_followed_in_every_form(predictor: Predictor, videos: Path) -> None:
    first, second = (
        next(predictor.follow(video, last_seconds=1)) for video in (videos / "20.mp4", str(videos / "20.mp4"))
    )
    assert np.array_equal(first.scores, second.scores)


def test_float32_is_float32_within_the_autocast_of_a_training(predictor: Predictor, videos: Path) -> None:
    def score() -> list[np.ndarray]:
        found, explained = predictor(video, window_seconds=1), predictor.explain(video)
        assert found.timeline is not None
        return [predictor(video).scores, found.scores, found.timeline.scores, explained.occlusion.evidence]

    video = videos / "20.mp4"
    expected = score()
    with torch.autocast("cpu", torch.bfloat16):
        found = score()
        assert torch.is_autocast_enabled("cpu")
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def other_default_device() -> Iterator[None]:
    """Lets new tensors of no named device have no memory, as those on a GPU have none for the processor."""
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


@pytest.mark.parametrize("kind", ["frames", "clips"])
def test_the_default_device_of_a_program_changes_nothing(
    kind: str, published: Path, videos: Path, request: pytest.FixtureRequest
) -> None:
    """Pixels that the model gets were made on the GPU of ``torch.set_default_device("cuda")``."""
    model = tiny_clip_model(num_classes=3) if kind == "clips" else vtn.create_model(published)
    model.evaluation = vtn.create_model(published).evaluation
    predictor, paths = Predictor(model, device="cpu"), [videos / "70.mp4", videos / "12.mp4"]

    def score() -> list[np.ndarray]:
        followed = next(predictor.follow(paths[0], last_seconds=2))
        explained = predictor.explain(paths[1]).occlusion.evidence
        windows = predictor(paths[0], window_seconds=1).scores
        return [*(result.scores for result in predictor.stream(paths)), followed.scores, explained, windows]

    expected = score()
    request.getfixturevalue("other_default_device")
    for one, other in zip(score(), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_times_of_windows_are_floats(predictor: Predictor, videos: Path) -> None:
    timeline = predictor(videos / "20.mp4", window_seconds=1).timeline
    assert timeline is not None
    assert timeline.starts.dtype == timeline.ends.dtype == np.float64


def test_results_can_be_compared_and_counted(predictor: Predictor, videos: Path) -> None:
    """Arrays have no one truth value: ``==`` raised ValueError, and so did ``in`` and ``list.index``."""
    first, second = (predictor(videos / "20.mp4", window_seconds=1) for _ in range(2))
    assert first != second
    assert [second, first].index(first) == 1
    assert len({first, second, first.timeline, second.timeline}) == 4


def test_the_parts_of_an_explanation_can_be_compared(predictor: Predictor, videos: Path) -> None:
    first, second = (predictor.explain(videos / "20.mp4") for _ in range(2))
    for name in ("attention", "growing", "occlusion", "pictures", "regions"):
        assert getattr(first, name) != getattr(second, name)
    assert first.faithfulness != second.faithfulness
    assert len({first.growing, first.pictures, *first.faithfulness.values()}) == 2 + len(first.faithfulness)


def test_results_in_a_notebook_are_one_line(predictor: Predictor, videos: Path) -> None:
    """The repr of an explanation had the video in it, in base64."""
    assert repr(predictor) == "<Predictor of VTN: 3 classes, cpu, float32>"
    explanation = predictor.explain(videos / "20.mp4")
    assert re.fullmatch(r"<Explanation of \S+20.mp4: \w+, 20 frames>", repr(explanation))
    assert "JFIF" not in repr(predictor.overview(videos / "20.mp4"))


def test_a_model_that_is_trained_again_does_not_predict(published: Path, videos: Path) -> None:
    """With dropout each call gave other scores."""
    model, video = vtn.create_model(published), videos / "20.mp4"
    predictor = Predictor(model, device="cpu")
    expected = predictor(video).scores
    model.train()
    for predict in (
        predictor,
        predictor.explain,
        predictor.overview,
        lambda video: next(predictor.stream([video])),
        lambda video: next(predictor.follow(video, last_seconds=1)),
        lambda video: next(predictor.measure_faithfulness([video])),
    ):
        with pytest.raises(InputError, match=r"is in training mode.*call model.eval\(\) first"):
            predict(video)
    model.eval()
    assert np.array_equal(predictor(video).scores, expected)


def test_a_copy_for_another_process_gives_the_same_scores(published: Path, videos: Path) -> None:
    predictor = Predictor(published, device="cpu")
    copy = pickle.loads(pickle.dumps(predictor))  # noqa: S301 (bytes of this test)
    assert np.array_equal(copy(videos / "12.mp4").scores, predictor(videos / "12.mp4").scores)


def test_calls_from_several_threads_give_the_same_scores(published: Path, videos: Path) -> None:
    predictor = Predictor(published, device="cpu")
    names = ["05.mp4", "12.mp4", "20.mp4", "70.mp4"] * 4
    expected = {name: predictor(videos / name, window_seconds=1).scores for name in set(names)}
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda name: predictor(videos / name, window_seconds=1), names))
    assert all(
        np.array_equal(result.scores, expected[name]) for name, result in zip(names, results, strict=True)
    )


def test_a_model_in_memory_predicts(published: Path, videos: Path, cfg: CfgNode, tmp_path: Path) -> None:
    expected = Predictor(published, device="cpu")(videos / "12.mp4").scores
    model = vtn.create_model(published)
    assert np.array_equal(Predictor(model, device="cpu")(videos / "12.mp4").scores, expected)
    for unused in ({"imports": ["parts.py"]}, {"backbone": "shallow_conv"}):
        with pytest.raises(InputError, match="imports, backbone: must be left out for a model"):
            Predictor(model, **unused)
    model.evaluation = {}
    with pytest.raises(InputError, match="does not come with the sampling of its frames"):
        Predictor(model)
    (tmp_path / "own.yaml").write_text(cfg.dump())
    predictor = Predictor(model, config=tmp_path / "own.yaml", device="cpu")
    assert np.array_equal(predictor(videos / "12.mp4").scores, expected)
