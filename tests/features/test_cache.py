"""The description of a feature cache, and the names of videos in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slowfast.features.cache import FeatureNames, Manifest, Variant, describe_differences

CACHED = Manifest(
    source={"name": "vit"}, feature_dim=8, dtype="float16", fps=5.0, mean=(0.5,) * 3, std=(0.5,) * 3,
    channels="RGB", variants=(Variant(32, 32),), made_by={"code": "1"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("feature_dim", 16),
        ("num_tokens", 4),
        ("dtype", "float32"),
        ("fps", 0.0),
        ("mean", (0.4,) * 3),
        ("std", (0.4,) * 3),
        ("channels", "BGR"),
    ],
)
def test_every_setting_of_the_features_is_compared(name: str, value: Any) -> None:
    needed = replace(CACHED, **{name: value})
    before = getattr(CACHED, name)
    assert CACHED.differences(needed) == [f"{name}: the cache has {before}, needed is {value}"]
    assert CACHED.settings_hash != needed.settings_hash


def test_a_property_of_one_model_alone_is_a_difference() -> None:
    needed = replace(CACHED, source={"name": "vit", "weights": "a"})
    assert CACHED.differences(needed) == ["weights: the cache has None, needed is a"]
    assert needed.differences(CACHED) == ["weights: the cache has a, needed is None"]


def test_features_of_other_crops_or_versions_stay_valid() -> None:
    other = replace(CACHED, variants=(Variant(64, 48),), made_by={"code": "2"})
    assert CACHED.differences(other) == []
    assert CACHED.settings_hash == other.settings_hash


def test_arguments_may_be_in_another_order() -> None:
    first, second = {"args": "{'a': 1, 'b': 2}"}, {"args": "{'b': 2, 'a': 1}"}
    assert describe_differences(first, second) == []
    assert describe_differences(first, {"args": "{'b': 2, 'a': 3}"})
    assert describe_differences({"args": "{a b"}, {"args": "{a b"}) == []


def test_a_folder_whose_name_begins_as_the_root_is_outside_of_it() -> None:
    assert FeatureNames(["/data/v"])("/data/v/a.mp4") == "a.mp4"
    assert FeatureNames(["/data/v"])("/data/videos/a.mp4") == "data/videos/a.mp4"
