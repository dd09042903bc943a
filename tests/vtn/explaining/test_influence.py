"""Occlusion, gradient and faithfulness are what their definitions say, computed one pass at a time.

T frames, S sets of kept frames, K classes.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch

from slowfast.errors import InputError
from tests.support.tiny_models import CLASSES, tiny, tiny_average, tiny_probe, video_features
from vtn.explaining.attribution import feature_gradient, gradient_times_input, occlude
from vtn.explaining.explain import measure_influence, read_attention, score_prefixes
from vtn.explaining.faithfulness import (
    MAX_STEPS,
    RANDOM,
    RANDOM_ORDERS,
    Curve,
    count_passes,
    measure_faithfulness,
)
from vtn.explaining.frame_scorer import FrameScorer
from vtn.frame_model import FrameModel
from vtn.inference.features import VideoFeatures
from vtn.inference.windows import score_video

T, LABEL = 7, 2
MODELS = {
    "VTN": lambda: tiny(),
    "standardized": lambda: tiny(input_standardize=True, input_differences=True, head_skip=True),
    "average": lambda: tiny_average(),
    "probe": lambda: tiny_probe(),
}


def scorer_of(num_frames: int = T, **options: str) -> FrameScorer:
    return FrameScorer.of_video(tiny(), video_features(num_frames), **options)


def one_by_one(model: FrameModel, video: VideoFeatures, kept: np.ndarray) -> np.ndarray:
    """Returns the probabilities (S, K) of a video with the kept frames (S, T), one pass for each set."""
    positions = video.positions(model.position_rate)[None]
    rows = []
    for mask in torch.from_numpy(kept):
        with torch.no_grad():
            rows.append(model.classify(video.features[None], positions, mask[None]).softmax(1)[0])
    return torch.stack(rows).double().numpy()


def log_odds(scores: np.ndarray) -> np.ndarray:
    return np.log(scores / (1 - scores))


@pytest.mark.parametrize("name", MODELS)
def test_occlusion_masks_each_frame_in_turn(name: str) -> None:
    model, video = MODELS[name](), video_features(T)
    kept = np.concatenate([np.ones((1, T), bool), ~np.eye(T, dtype=bool)])
    scores = one_by_one(model, video, kept)[:, LABEL]
    scorer = FrameScorer.of_video(model, video)
    found = occlude(scorer, LABEL)
    assert found.span == 1
    np.testing.assert_allclose(found.score, scores[0] - scores[1:], atol=1e-6)
    np.testing.assert_allclose(found.evidence, log_odds(scores[0]) - log_odds(scores[1:]), atol=1e-4)
    np.testing.assert_allclose(scorer.scores(kept[:1])[0], score_video(model, video), atol=1e-6)


def test_frames_that_cannot_be_decoded_are_left_out() -> None:
    """The result is that of the video without them, whatever their features are."""
    model, video = tiny(), video_features(T)
    lost = torch.arange(T) == 3
    features = video.features.masked_fill(lost[:, None], float("nan"))
    broken = FrameScorer.of_video(model, replace(video, features=features, mask=~lost))
    found = measure_influence(broken, LABEL)
    other = FrameScorer.of_video(model, replace(video, mask=~lost))
    expected = measure_influence(other, LABEL)
    np.testing.assert_array_equal(found.occlusion.evidence, expected.occlusion.evidence)
    np.testing.assert_array_equal(found.gradient, expected.gradient)
    assert found.occlusion.evidence[3] == found.gradient[3] == 0
    assert found.attention is not None
    assert (found.attention.rollout[3], found.attention.layers[..., 3].max()) == (0, 0)
    assert score_prefixes(broken).rows.tolist() == [0, 1, 2, 4, 5, 6]
    for curves in found.faithfulness.values():
        assert len(curves.deletion.scores) == T - 1


def test_a_long_video_is_occluded_in_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vtn.explaining.attribution.MAX_PASSES", 4)
    passes: list[int] = []
    scorer = replace(scorer_of(10), on_batch=passes.append)
    found = occlude(scorer, LABEL)
    assert found.span == 3
    assert sum(passes) == 1 + 4
    spans = [range(3), range(3, 6), range(6, 8), range(8, 10)]
    kept = np.ones((4, 10), bool)
    for row, span in enumerate(spans):
        kept[row, list(span)] = False
        assert len(set(found.score[list(span)])) == 1
    full = scorer.scores(np.ones((1, 10), bool))[0, LABEL]
    falls = [found.score[span[0]] for span in spans]
    np.testing.assert_allclose(falls, full - scorer.scores(kept)[:, LABEL], atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_is_the_slope_of_the_log_odds(name: str) -> None:
    """The oracle is a central difference in float64, along the features of one frame."""
    model = MODELS[name]().double()
    video = video_features(T)
    scorer = FrameScorer.of_video(model, video)
    scorer = replace(scorer, features=scorer.features.double())
    found = gradient_times_input(scorer, feature_gradient(scorer, LABEL))
    step = 1e-5
    for t in (0, T - 1):
        values = []
        for factor in (1 + step, 1 - step):
            features = scorer.features.clone()
            features[0, t] *= factor
            with torch.no_grad():
                logits = model.classify(features, scorer.positions)
            values.append(float(scorer.evidence(logits, LABEL)[0]))
        assert found[t] == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("head_act", ["softmax", "sigmoid", "none"])
def test_log_odds_of_all_score_activations(head_act: str) -> None:
    scorer = scorer_of(head_act=head_act)
    logits = torch.randn(3, CLASSES)
    expected = logits[:, LABEL]
    if head_act == "softmax":
        expected = torch.from_numpy(log_odds(logits.double().softmax(1)[:, LABEL].numpy())).float()
    torch.testing.assert_close(scorer.evidence(logits, LABEL), expected)


def test_log_odds_of_two_classes_are_the_difference_of_their_logits_and_of_one_its_logit() -> None:
    scorer, logits = scorer_of(), torch.randn(3, 2)
    torch.testing.assert_close(scorer.evidence(logits, 1), logits[:, 1] - logits[:, 0])
    torch.testing.assert_close(scorer.evidence(logits[:, :1], 0), logits[:, 0])


def test_curves_delete_and_insert_in_the_order_of_a_ranking() -> None:
    model, video = tiny(), video_features(T)
    passes: list[int] = []
    scorer = replace(FrameScorer.of_video(model, video), on_batch=passes.append)
    ranking = np.array([0.3, -1.0, 0.9, 0.3, 0.0, 5.0, 0.1])
    order = [5, 2, 0, 3, 6, 4, 1]  # equal values in order of time
    curves = measure_faithfulness(scorer, LABEL, {"mine": ranking})
    assert list(curves) == ["mine", RANDOM]
    assert sum(passes) == count_passes(T, 1)
    deleted = np.array([[t not in order[:count] for t in range(T)] for count in range(T)])
    shown = np.array([[t in order[:count] for t in range(T)] for count in range(1, T + 1)])
    deletion, insertion = curves["mine"].deletion, curves["mine"].insertion
    np.testing.assert_allclose(deletion.scores, one_by_one(model, video, deleted)[:, LABEL], atol=1e-6)
    np.testing.assert_allclose(insertion.scores, one_by_one(model, video, shown)[:, LABEL], atol=1e-6)
    np.testing.assert_allclose(deletion.fractions, np.arange(T) / T)
    np.testing.assert_allclose(insertion.fractions, np.arange(1, T + 1) / T)
    # Nothing deleted and everything shown are the same set of frames.
    assert deletion.scores[0] == pytest.approx(insertion.scores[-1])


def test_random_orders_are_averaged_and_repeatable() -> None:
    scorer = scorer_of(4)
    found = [measure_faithfulness(scorer, LABEL, {})[RANDOM] for _ in range(2)]
    np.testing.assert_array_equal(found[0].deletion.scores, found[1].deletion.scores)
    rng = np.random.default_rng(0)
    orders = [rng.permutation(np.arange(4)) for _ in range(RANDOM_ORDERS)]
    each = [measure_faithfulness(scorer, LABEL, {"one": -np.argsort(order)})["one"] for order in orders]
    mean = np.mean([curves.insertion.scores for curves in each], axis=0)
    np.testing.assert_allclose(found[0].insertion.scores, mean, atol=1e-6)


def test_areas_tell_good_orders_from_bad_ones() -> None:
    """Among all orders of five frames, that of occlusion is better than most, and its reverse is not."""
    scorer = FrameScorer.of_video(tiny_average(), video_features(5, seed=3))
    label = int(scorer.scores(np.ones((1, 5), bool))[0].argmax())
    ranking = occlude(scorer, label).evidence
    orders = {str(order): -np.argsort(order) for order in permutations(range(5))}
    rankings = {"best": ranking, "worst": -ranking, **orders}
    margins = {
        name: curves.insertion.area - curves.deletion.area
        for name, curves in measure_faithfulness(scorer, label, rankings).items()
    }
    every = np.array([margins[name] for name in orders])
    assert (every < margins["best"]).mean() > 0.9
    assert (every > margins["worst"]).mean() > 0.9


def test_the_area_is_the_mean_height() -> None:
    fractions = np.array([0.0, 0.5, 0.75])
    assert Curve(fractions, np.array([1.0, 1.0, 1.0])).area == pytest.approx(1.0)
    assert Curve(fractions, np.array([1.0, 0.0, 0.0])).area == pytest.approx(0.25 / 0.75)


def test_a_long_video_has_few_points() -> None:
    scorer = scorer_of(95)
    curves = measure_faithfulness(scorer, LABEL, {})[RANDOM]
    assert len(curves.deletion.scores) == MAX_STEPS
    assert curves.deletion.fractions[-1] == pytest.approx(94 / 95)
    assert curves.insertion.fractions[0] == pytest.approx(1 / 95)


def test_prefixes_are_scored_as_if_the_video_ended_there() -> None:
    model, video = tiny(), video_features(T)
    found = score_prefixes(FrameScorer.of_video(model, video))
    for row, scores in zip(found.rows.tolist(), found.scores, strict=True):
        part = video.features[None, : row + 1]
        with torch.no_grad():
            expected = model.classify(part, video.positions(None)[None, : row + 1]).softmax(1)[0]
        np.testing.assert_allclose(scores, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("fusion", ["", "sequence"])
def test_attention_sums_to_one_with_that_of_cls(fusion: str) -> None:
    options = {"tokens": (2, 2), "fusion": fusion, "backbone_args": {"image_size": 32, "width": 4}}
    model = tiny(**(options if fusion else {}))
    video = video_features(T)
    if fusion:
        video = replace(video, features=torch.randn(T, 4, model.feature_dim))
    attention = read_attention(FrameScorer.of_video(model, video))
    assert attention is not None
    sums = attention.layers.sum(-1)
    assert attention.layers.shape == (2, 2, T)
    assert (sums > 0).all()
    assert (sums < 1).all()
    assert 0 < attention.rollout.sum() < 1
    # tests/vtn/encoder/test_rollout.py compares both with dense matrices.
    with torch.no_grad():
        weights = model.frame_attention(video.features[None], video.positions(None)[None])
    np.testing.assert_allclose(
        attention.layers, weights[:, 0].reshape(2, 2, T, -1).sum(-1).numpy(), rtol=1e-5
    )


def test_other_models_have_no_attention() -> None:
    influence = measure_influence(FrameScorer.of_video(tiny_average(), video_features(T)), LABEL)
    assert influence.attention is None
    assert set(influence.faithfulness) == {"occlusion", "gradient", RANDOM}


def test_one_frame_cannot_be_explained() -> None:
    with pytest.raises(InputError, match="has 1 frame: an explanation needs 2 or more"):
        scorer_of(1)
    assert scorer_of(2).num_frames == 2
