"""Scaled size, crops and flip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slowfast.datasets.views.spatial import fixed_crop, random_crop
from slowfast.video.decoding import open_video
from slowfast.video.placement import Placement, scaled_by, scaled_size
from tests.support.videos import write_video


@pytest.mark.parametrize(
    ("height", "width", "size"), [(240, 320, (256, 341)), (320, 240, (341, 256)), (100, 100, (256, 256))]
)
def test_the_short_side_is_scaled_and_the_long_one_rounded_down(
    height: int, width: int, size: tuple[int, int]
) -> None:
    assert scaled_size(height, width, 256) == size


def test_three_crops_cover_a_wide_image_from_left_to_right() -> None:
    places = [fixed_crop(224, 224, crop, 3)(240, 320) for crop in range(3)]
    assert [(p.top, p.left) for p in places] == [(0, 0), (0, 37), (0, 74)]  # width 298


def test_three_crops_cover_a_tall_image_from_top_to_bottom() -> None:
    places = [fixed_crop(224, 224, crop, 3)(320, 240) for crop in range(3)]
    assert [(p.top, p.left) for p in places] == [(0, 0), (37, 0), (74, 0)]


def test_odd_free_space_is_rounded_up_as_in_pyslowfast() -> None:
    tall = [fixed_crop(225, 224, crop, 3)(160, 128) for crop in range(3)]  # 281 rows, 225 columns
    assert [(p.top, p.left) for p in tall] == [(0, 1), (29, 1), (57, 1)]
    wide = [fixed_crop(225, 224, crop, 3)(128, 160) for crop in range(3)]
    assert [(p.top, p.left) for p in wide] == [(1, 0), (1, 29), (1, 57)]


def test_one_crop_is_the_centre() -> None:
    assert fixed_crop(256, 224)(256, 341) == Placement(256, 341, 16, 59, 224, 224)


@given(
    height=st.integers(16, 2000),
    width=st.integers(16, 2000),
    seed=st.integers(0, 1000),
    inverse=st.booleans(),
)
def test_a_random_crop_lies_within_an_image_of_the_drawn_size(
    height: int, width: int, seed: int, inverse: bool
) -> None:
    rng = np.random.default_rng(seed)
    place = random_crop((256, 320), 224, rng, inverse_uniform=inverse)(height, width)
    assert 256 <= min(place.height, place.width) <= 320
    assert 0 <= place.top <= place.height - 224
    assert 0 <= place.left <= place.width - 224


def test_random_crops_reach_both_edges_and_flip_half_of_the_time() -> None:
    places = [random_crop((226, 226), 224, np.random.default_rng(seed))(240, 240) for seed in range(200)]
    assert {place.top for place in places} == {0, 1, 2}
    assert {place.left for place in places} == {0, 1, 2}
    assert 70 < sum(place.flip for place in places) < 130


def test_no_flip_where_it_is_off() -> None:
    places = [
        random_crop((226, 226), 224, np.random.default_rng(seed), flip=False)(240, 240) for seed in range(20)
    ]
    assert not any(place.flip for place in places)


def test_frames_are_scaled_by_the_chosen_interpolation(tmp_path: Path) -> None:
    """Bicubic keeps more of an edge than bilinear; both show the same image."""
    edge = np.zeros((64, 64, 3), np.uint8)
    edge[:, 32:] = 200
    video = write_video(tmp_path / "edge.mp4", [edge] * 2, crf="1")

    def read(interpolation: str) -> np.ndarray:
        placer = scaled_by(interpolation, fixed_crop(48, 48))
        with open_video(str(video)) as opened:
            return opened.read(np.array([0]), placer)[0, :, :, 0].astype(int)

    bilinear, bicubic = read("bilinear"), read("bicubic")
    assert np.abs(bilinear - bicubic).max() > 5
    assert np.abs(bilinear - bicubic).mean() < 5
    assert np.abs(np.diff(bicubic, axis=1)).max() > np.abs(np.diff(bilinear, axis=1)).max()
