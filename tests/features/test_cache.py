"""The description of a feature cache, and the names of videos in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slowfast.errors import DataError
from slowfast.features.cache import (
    FeatureNames,
    Manifest,
    Variant,
    by_scaling,
    describe_differences,
    features_path,
)
from slowfast.video.archive.member import TarMember

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


def test_texts_that_are_not_mappings_are_compared_as_texts() -> None:
    needed = replace(CACHED, source={"name": "{[]: 1}"})
    assert CACHED.differences(needed) == ["name: the cache has vit, needed is {[]: 1}"]


def test_arguments_may_be_in_another_order() -> None:
    first, second = {"args": "{'a': 1, 'b': 2}"}, {"args": "{'b': 2, 'a': 1}"}
    assert describe_differences(first, second) == []
    assert describe_differences(first, {"args": "{'b': 2, 'a': 3}"})
    assert describe_differences({"args": "{a b"}, {"args": "{a b"}) == []


def test_a_folder_whose_name_begins_as_the_root_is_outside_of_it() -> None:
    assert FeatureNames(["/data/v"])("/data/v/a.mp4") == "a.mp4"
    assert FeatureNames(["/data/v"])("/data/videos/a.mp4") == "data/videos/a.mp4"


def test_an_empty_root_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set without DATA.PATH_PREFIX has an empty one."""
    monkeypatch.chdir(tmp_path)
    video = str(tmp_path / "a.mp4")
    assert FeatureNames([""])(video) == video.removeprefix("/")
    (tmp_path / "videos").mkdir()
    assert FeatureNames(["videos"])(str(tmp_path / "videos/a.mp4")) == "a.mp4"


def test_a_member_of_an_archive_has_the_name_of_its_file() -> None:
    names = FeatureNames(["/data"])
    assert names(TarMember.at("/data/train/0.tar", "7.mp4", 512, 9, original="bow/a.mp4")) == "bow/a.mp4"
    assert names(TarMember.at("/data/train/0.tar", "7.mp4", 512, 9)) == "train/0/7.mp4"


@pytest.mark.parametrize("letter", ["a", "é"])
def test_names_up_to_241_bytes_are_kept_and_longer_ones_end_in_a_hash(letter: str) -> None:
    variant, size = Variant(32, 32), len(letter.encode())
    longest = letter * (241 // size)
    assert features_path("cache", variant, longest).stem == longest
    long = [features_path("cache", variant, letter * (241 // size + more)).stem for more in (1, 2)]
    assert long[0] != long[1]
    assert all(name.startswith(letter * 90) and len(name.encode()) <= 241 for name in long)


def test_crops_of_one_scaling_are_made_together() -> None:
    variants = [
        Variant(40, 32),
        Variant(32, 32),
        Variant(40, 32, flip=True),
        Variant(40, 32, interpolation="bicubic"),
        Variant(40, 32, picture_multiple=16),
    ]
    groups = list(by_scaling(variants))
    assert [variants[0], variants[2]] in groups
    assert sorted(map(len, groups)) == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        (Variant(256, 224, 1, 3), "short256-crop224-2of3"),
        (Variant(256, 224, flip=True, interpolation="bicubic"), "short256-crop224-1of1-flip-bicubic"),
        (Variant(256, 224, picture_multiple=1), "short256-whole"),
        (
            Variant(256, 224, flip=True, interpolation="bicubic", picture_multiple=16),
            "short256-whole-by16-flip-bicubic",
        ),
    ],
)
def test_the_folders_of_variants_keep_their_names(variant: Variant, name: str) -> None:
    """Caches of earlier versions are read by them."""
    assert variant.name == name


def test_a_manifest_without_newer_keys_is_that_of_an_earlier_version(tmp_path: Path) -> None:
    CACHED.write(tmp_path)
    text = (tmp_path / "manifest.json").read_text()
    assert "num_tokens" not in text
    assert "picture_multiple" not in text
    assert Manifest.read(tmp_path) == CACHED
    newer = replace(CACHED, num_tokens=4, variants=(Variant(32, 32, picture_multiple=2),))
    newer.write(tmp_path)
    assert Manifest.read(tmp_path) == newer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('"format": 1', '"format": 2'), "format = 2: must be 1; extract"),
        (lambda text: text.replace("float16", "int8"), "dtype = 'int8': must be one of"),
        (lambda text: text.replace('"float16"', '["float16"]'), "cannot be read .TypeError"),
        (lambda text: text.replace('"format": 1,', ""), "cannot be read .KeyError"),
        (lambda text: text.replace('"fps"', '"rate"'), "cannot be read .TypeError"),
        (lambda text: "[" * 100_000, "nested more than 100 levels"),
        (lambda text: text.replace('"RGB"', "[" * 600 + "]" * 600), "nested more than 100 levels"),
        (lambda text: text.replace("5.0", '"5.0"'), "fps = '5.0' is not float"),
        (lambda text: text.replace("5.0", "NaN"), "fps = nan is not 0 or more"),
        (lambda text: text.replace(": 32", ": -32"), "short_side = -32 is not 0 or more"),
        (lambda text: text.replace(": 32", ": null"), "short_side = None is not int"),
        (lambda text: text.replace('{\n    "name": "vit"\n  }', "[]"), r"source = \[\] is not Mapping"),
        (lambda text: '"text"', "cannot be read .AttributeError"),
        (lambda text: text[:-9], "cannot be read .JSONDecodeError"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_refused(
    change: Callable[[str], str], message: str, tmp_path: Path
) -> None:
    CACHED.write(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=message):
        Manifest.read(tmp_path)
