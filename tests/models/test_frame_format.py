"""Settings of frames that are left to the model, and sizes that it does not accept."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from fvcore.common.config import CfgNode

from slowfast.config import load_config
from slowfast.errors import ConfigError
from slowfast.log import close_logging
from slowfast.models.frame_format import adopt_frame_format


class Model:
    frame_size = 240
    frame_interpolation = "bicubic"
    frame_mean, frame_std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)

    def frame_size_problem(self, height: int, width: int) -> str:
        return "" if height == width == 240 else f"takes 240, not {height}×{width}"


def config(*overrides: str) -> CfgNode:
    return load_config("VIT_B_VTN", overrides)


def test_settings_left_to_the_model_are_filled_in() -> None:
    cfg = config(
        *("DATA.TRAIN_CROP_SIZE", "0", "DATA.TEST_CROP_SIZE", "0"),
        *("DATA.INTERPOLATION", "backbone", "DATA.NORMALIZATION", "backbone"),
    )
    adopted = adopt_frame_format(cfg, Model())
    assert (adopted.DATA.TRAIN_CROP_SIZE, adopted.DATA.TEST_CROP_SIZE) == (240, 240)
    assert adopted.DATA.INTERPOLATION == "bicubic"
    assert (adopted.DATA.MEAN, adopted.DATA.STD) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert cfg.DATA.TRAIN_CROP_SIZE == 0


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Notes log lines; those that are logged once per run are logged again."""
    close_logging()
    with caplog.at_level(logging.INFO):
        yield caplog


def test_frames_of_another_format_than_that_of_published_weights_are_logged_once(
    log: pytest.LogCaptureFixture,
) -> None:
    model, sizes = Model(), ("DATA.TRAIN_CROP_SIZE", "0", "DATA.TEST_CROP_SIZE", "0")
    adopt_frame_format(config(*sizes), model)
    assert log.messages == []  # random weights

    model.has_published_weights = True  # type: ignore[attr-defined]
    for _ in range(2):
        adopt_frame_format(config(*sizes), model)
    normalization, interpolation = log.messages
    assert (
        "published weights [0.1, 0.2, 0.3] and [0.4, 0.5, 0.6]: use DATA.NORMALIZATION back" in normalization
    )
    assert "published weights by bicubic: use DATA.INTERPOLATION backbone" in interpolation
    assert {record.levelname for record in log.records} == {"INFO"}


def test_frames_of_the_format_of_published_weights_are_not_logged(log: pytest.LogCaptureFixture) -> None:
    model = Model()
    model.has_published_weights = True  # type: ignore[attr-defined]
    formats = ("DATA.INTERPOLATION", "backbone", "DATA.NORMALIZATION", "backbone")
    adopt_frame_format(config("DATA.TRAIN_CROP_SIZE", "0", "DATA.TEST_CROP_SIZE", "0", *formats), model)
    assert log.messages == []


def test_given_settings_stay() -> None:
    adopted = adopt_frame_format(config(), object())
    assert adopted == config()


@pytest.mark.parametrize(
    ("overrides", "problems"),
    [
        ((), ["DATA.TRAIN_CROP_SIZE = 224: takes 240", "DATA.TEST_CROP_SIZE = 224: takes 240"]),
        (("TRAIN.ENABLE", "False", "DATA.TEST_CROP_SIZE", "240"), []),
        (
            (
                "DATA.TRAIN_CROP_SIZE",
                "0",
                "DATA.TEST_CROP_SIZE",
                "0",
                "DATA.TRAIN_JITTER_SCALES",
                "[224, 300]",
            ),
            ["DATA.TRAIN_CROP_SIZE = 240: must not exceed", "DATA.TEST_CROP_SIZE = 240: must not exceed"],
        ),
    ],
)
def test_sizes_that_the_model_does_not_accept_are_named(
    overrides: tuple[str, ...], problems: list[str]
) -> None:
    if not problems:
        adopt_frame_format(config(*overrides), Model())
        return
    with pytest.raises(ConfigError) as caught:
        adopt_frame_format(config(*overrides), Model())
    assert len(caught.value.problems) == len(problems)
    for found, wanted in zip(caught.value.problems, problems, strict=True):
        assert found.startswith(wanted)


def test_a_model_without_a_size_needs_one_in_the_configuration() -> None:
    with pytest.raises(ConfigError, match="must be above 0 for a model without a size of its own"):
        adopt_frame_format(config("DATA.TRAIN_CROP_SIZE", "0"), object())


# ------------------------------------------------------------------------------------ whole pictures


class AnySize:
    """A model with patches of 16 pixels, and a map that must have two columns."""

    frame_multiple = 16

    def frame_size_problem(self, height: int, width: int) -> str:
        return "" if width >= 32 else f"{height}×{width} pixels are too few"


def pictures(*overrides: str, size: int = 224) -> CfgNode:
    size_keys = ("DATA.TRAIN_CROP_SIZE", str(size), "DATA.TEST_CROP_SIZE", str(size))
    return config("DATA.TEST_WHOLE_PICTURE", "True", "TEST.NUM_SPATIAL_CROPS", "1", *size_keys, *overrides)


def test_the_multiple_of_whole_pictures_is_that_of_the_model() -> None:
    assert adopt_frame_format(pictures(), AnySize()).DATA.TEST_PICTURE_MULTIPLE == 16
    assert adopt_frame_format(config(), AnySize()).DATA.TEST_PICTURE_MULTIPLE == 0
    given = pictures("DATA.TEST_PICTURE_MULTIPLE", "32")
    assert adopt_frame_format(given, AnySize()).DATA.TEST_PICTURE_MULTIPLE == 32


@pytest.mark.parametrize(
    ("model", "overrides", "size", "problem"),
    [
        (object(), (), 224, "WHOLE_PICTURE = True: must be False for object, which does not state that it"),
        (AnySize(), ("DATA.TEST_PICTURE_MULTIPLE", "8"), 224, "MULTIPLE = 8: must be a multiple of 16"),
        (AnySize(), (), 16, "WHOLE_PICTURE = True: must be False for AnySize: 16×16 pixels are too few"),
    ],
)  # fmt: skip
def test_models_that_do_not_accept_whole_pictures_are_named(
    model: object, overrides: tuple[str, ...], size: int, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        adopt_frame_format(pictures(*overrides, size=size), model)
    assert any(problem in found for found in caught.value.problems), caught.value.problems


def test_a_model_of_one_size_gives_the_reason() -> None:
    model = Model()
    model.frame_multiple = None  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="accepts frames of one size: takes 240, not 240×427"):
        adopt_frame_format(pictures("DATA.TRAIN_JITTER_SCALES", "[240, 300]", size=240), model)
