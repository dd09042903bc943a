"""What a configuration leaves to the model, and sizes that do not suit it."""

from __future__ import annotations

from typing import Any

import pytest

from slowfast.config import load_config
from slowfast.errors import ConfigError
from slowfast.models.frame_format import adopt_frame_format


class Model:
    frame_size = 240
    frame_interpolation = "bicubic"
    frame_mean, frame_std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)

    def frame_size_problem(self, height: int, width: int) -> str:
        return "" if height == width == 240 else f"takes 240, not {height}×{width}"


def config(*overrides: str) -> Any:
    return load_config("VIT_B_VTN", overrides)


def test_what_is_left_to_the_model() -> None:
    cfg = config(
        *("DATA.TRAIN_CROP_SIZE", "0", "DATA.TEST_CROP_SIZE", "0"),
        *("DATA.INTERPOLATION", "backbone", "DATA.NORMALIZATION", "backbone"),
    )
    adopted = adopt_frame_format(cfg, Model())
    assert (adopted.DATA.TRAIN_CROP_SIZE, adopted.DATA.TEST_CROP_SIZE) == (240, 240)
    assert adopted.DATA.INTERPOLATION == "bicubic"
    assert (adopted.DATA.MEAN, adopted.DATA.STD) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert cfg.DATA.TRAIN_CROP_SIZE == 0


def test_what_is_given_stays() -> None:
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
            ["DATA.TRAIN_CROP_SIZE = 240: does not fit", "DATA.TEST_CROP_SIZE = 240: does not fit"],
        ),
    ],
)
def test_a_size_that_does_not_suit(overrides: tuple[str, ...], problems: list[str]) -> None:
    if not problems:
        adopt_frame_format(config(*overrides), Model())
        return
    with pytest.raises(ConfigError) as caught:
        adopt_frame_format(config(*overrides), Model())
    assert len(caught.value.problems) == len(problems)
    for found, wanted in zip(caught.value.problems, problems, strict=True):
        assert found.startswith(wanted)


def test_a_model_without_a_size() -> None:
    with pytest.raises(ConfigError, match="does not say a size"):
        adopt_frame_format(config("DATA.TRAIN_CROP_SIZE", "0"), object())
