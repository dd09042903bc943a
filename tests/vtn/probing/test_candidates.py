"""This project's candidates: valid, different, and the same for the same arguments."""

from __future__ import annotations

import pytest

from slowfast.config import load_config
from slowfast.config.check import check
from slowfast.models.build import build_model
from slowfast.probe.candidate import changed, find_source
from vtn.probing import candidates as source


@pytest.mark.parametrize("row_shape", [(24,), (4, 24)])
def test_every_candidate_is_valid_and_different(row_shape: tuple[int, ...]) -> None:
    tokens = ["VTN.BACKBONE.TOKENS", "[2, 2]"] if len(row_shape) == 2 else ["VTN.BACKBONE.TOKENS", "[1, 1]"]
    cfg = load_config("PRETRAINED_DEMO", tokens)
    cfg = changed(
        cfg, [("DATA.INTERPOLATION", "bilinear"), *source.without_frame_encoder(cfg, feature_dim=24)]
    )
    found = source.candidates(cfg, row_shape=row_shape, num_videos=240, limit=40)
    assert len(found) == len({candidate.key for candidate in found}) == 40
    assert {candidate.family for candidate in found} == {"VTN", "FrameAverage"}
    for candidate in found:
        assert check(candidate.apply(cfg)) == []
    for candidate in (found[0], found[-1]):
        model = build_model(candidate.apply(cfg), fetch_weights=False)
        assert model.feature_shape == row_shape


def test_equal_arguments_give_equal_candidates() -> None:
    cfg = load_config("PRETRAINED_DEMO")
    first, again = (source.candidates(cfg, row_shape=(24,), num_videos=240, limit=30) for _ in range(2))
    assert [c.key for c in first] == [c.key for c in again]
    assert [c.key for c in source.candidates(cfg, row_shape=(24,), num_videos=240, limit=1)] == [first[0].key]


def test_the_framework_finds_them_by_the_model() -> None:
    assert find_source(load_config("PRETRAINED_DEMO")) is source


@pytest.mark.parametrize(
    ("num_videos", "batch", "epochs"), [(5, 5, 150), (40, 8, 60), (240, 16, 20), (2000, 16, 20)]
)
def test_few_videos_are_trained_for_more_epochs(num_videos: int, batch: int, epochs: int) -> None:
    cfg = load_config("PRETRAINED_DEMO")
    (first,) = source.candidates(cfg, row_shape=(24,), num_videos=num_videos, limit=1)
    chosen = first.apply(cfg)
    assert (batch, epochs) == (chosen.TRAIN.BATCH_SIZE, chosen.SOLVER.MAX_EPOCH)


def test_the_first_candidate_is_the_recipe_for_few_videos() -> None:
    recipe = load_config("SMALL_DATA")
    (first,) = source.candidates(recipe, row_shape=(24,), num_videos=240, limit=1)
    chosen = first.apply(recipe)
    for name, section in recipe.items():
        if name not in ("SOLVER", "TRAIN"):
            assert chosen[name] == section
    schedule = {"MAX_EPOCH", "WARMUP_EPOCHS"}
    assert {key for key, value in recipe.SOLVER.items() if chosen.SOLVER[key] != value} == schedule


def test_candidates_without_a_skip_have_no_factor_for_it() -> None:
    recipe = load_config("SMALL_DATA")
    found = source.candidates(recipe, row_shape=(24,), num_videos=240, limit=40)
    chosen = [candidate.apply(recipe) for candidate in found]
    assert {cfg.VTN.HEAD.SKIP for cfg in chosen} == {True, False}
    assert all(bool(cfg.SOLVER.LR_FACTORS) == cfg.VTN.HEAD.SKIP for cfg in chosen)


def test_a_description_names_what_differs_from_the_first_candidate() -> None:
    first, second = source.candidates(load_config("SMALL_DATA"), row_shape=(24,), num_videos=240, limit=3)[:2]
    assert first.describe() == "first setting"
    assert second.describe() == "BASE_LR 0.0005"
