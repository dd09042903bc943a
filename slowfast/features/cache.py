"""The layout of a feature cache: a folder with one row per frame for the videos of a data set.

``manifest.json`` describes the features. ``VARIANT/NAME.npy`` holds the rows of a video, where a variant is
one crop, mirrored or not; ``times/NAME.npy`` holds the display time of the frame of each row. NAME is the
path of the video within its data set; very long names end in a hash. ``broken.json`` lists the videos without
features.

T rows, M tokens of a frame, F width of a feature. A row is (F,), and (M, F) for M > 1.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Self, get_origin, get_type_hints

from slowfast.datasets.views.spatial import evaluated_frame
from slowfast.errors import DataError
from slowfast.features.storage import STORED
from slowfast.files import parse_json, write_text
from slowfast.models.capabilities import feature_shape
from slowfast.video.archive.member import TarMember
from slowfast.video.placement import Placer

MANIFEST = "manifest.json"
# Version of this layout; a reader refuses other versions.
FORMAT = 1
# Ends the name of features that are not complete yet, before the suffix of the file.
_PART = ".part"
# Bytes of the longest name of a video that files have, which add ``.part.npy.lock`` to it.
_MAX_NAME = 241


@dataclass(frozen=True)
class Variant:
    """One crop of the frames that a model encodes, or the whole picture.

    Attributes:
        short_side: pixels to which the short side is scaled.
        crop_size: pixels of the sides of the square crop.
        crop, num_crops: index of the crop among ``num_crops`` placed evenly along the long side.
        flip: whether the crop is mirrored left to right.
        interpolation: ``bilinear`` or ``bicubic``, for the scaling.
        picture_multiple: 0: a crop; above 0: the whole picture, its sides multiples of this many pixels. Not
            written to a manifest where it is 0, as in earlier files.
    """

    short_side: int
    crop_size: int
    crop: int = 0
    num_crops: int = 1
    flip: bool = False
    interpolation: str = "bilinear"
    picture_multiple: int = 0

    @property
    def name(self) -> str:
        """Name of the folder of this variant."""
        mirrored = "-flip" if self.flip else ""
        scaled = "" if self.interpolation == "bilinear" else f"-{self.interpolation}"
        if self.picture_multiple:
            rounded = f"-by{self.picture_multiple}" if self.picture_multiple > 1 else ""
            return f"short{self.short_side}-whole{rounded}{mirrored}{scaled}"
        return (
            f"short{self.short_side}-crop{self.crop_size}-{self.crop + 1}of{self.num_crops}{mirrored}{scaled}"
        )

    @property
    def placer(self) -> Placer:
        """Placer of the crop or picture, without the mirroring."""
        return evaluated_frame(
            self.short_side,
            self.crop_size,
            self.crop,
            self.num_crops,
            picture_multiple=self.picture_multiple,
            interpolation=self.interpolation,
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns the content as plain values; without ``picture_multiple`` where it is 0."""
        content = asdict(self)
        if not self.picture_multiple:
            del content["picture_multiple"]
        return content


@dataclass(frozen=True)
class Manifest:
    """The description of the features in a cache.

    Attributes:
        source: the model that made the features, as plain values by name: the backbone, its weights, …
        feature_dim: F.
        dtype: dtype of the features, a key of ``slowfast.features.storage.STORED``.
        fps: frames per second that were encoded; 0: every frame.
        mean, std: normalisation per channel, of pixels scaled to 0 … 1.
        channels: order of the channels, RGB or BGR.
        variants: variants that exist of each video.
        made_by: further facts for the reader of the file: version of the code, decoder, precision. A cache is
            not refused where they differ.
        num_tokens: M; not written where it is 1, as in earlier files.
    """

    source: Mapping[str, Any]
    feature_dim: int
    dtype: str
    fps: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: str
    variants: tuple[Variant, ...]
    made_by: Mapping[str, str]
    num_tokens: int = 1

    @property
    def row_shape(self) -> tuple[int, ...]:
        """(F,), or (M, F) for several tokens."""
        return feature_shape(self.num_tokens, self.feature_dim)

    @cached_property
    def settings_hash(self) -> str:
        """Hash of all that decides the features of a variant; each video's description holds it.

        Variants are left out: when some are added, complete features of the others stay valid.
        """
        settings = replace(self, variants=(), made_by={})
        return hashlib.sha256(json.dumps(settings.as_dict()).encode()).hexdigest()[:16]

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """Reads the manifest of a folder.

        Raises:
            DataError: where the file is missing, damaged or of another version.
        """
        path = Path(folder, MANIFEST)
        try:
            content = parse_json(path.read_text(encoding="utf-8"))
            version = content.pop("format")
            if version != FORMAT:
                raise DataError(f"{path}: format = {version}: must be {FORMAT}; extract the features again")
            for name in ("mean", "std"):
                content[name] = tuple(content[name])
                if not all(isinstance(value, int | float) for value in content[name]):
                    raise TypeError(f"{name} = {content[name]} must have numbers")
            content["variants"] = tuple(Variant(**variant) for variant in content["variants"])
            manifest = cls(**content)
            _check_values(manifest, *manifest.variants)
            if manifest.dtype not in STORED:
                raise DataError(f"{path}: dtype = {manifest.dtype!r}: must be one of {', '.join(STORED)}")
            return manifest
        except FileNotFoundError as error:
            raise DataError(
                f"{folder}: must be a feature cache, with a file {MANIFEST}; extract one with "
                "`slowfast extract`, or read features of other programs with the data set 'features'"
            ) from error
        except OSError as error:
            raise DataError(
                f"{path}: cannot be read ({error.strerror}); change its permissions, or choose another folder"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} cannot be read ({type(error).__name__}: {error}); extract the features again"
            ) from error

    def write(self, folder: str | Path) -> None:
        """Writes the manifest of a folder, atomically."""
        content = {"format": FORMAT, **self.as_dict()}
        write_text(Path(folder, MANIFEST), json.dumps(content, indent=2) + "\n")

    def as_dict(self) -> dict[str, Any]:
        """Returns the content as plain values; without ``num_tokens`` where it is 1."""
        content = asdict(self)
        content["variants"] = [variant.as_dict() for variant in self.variants]
        if self.num_tokens == 1:
            del content["num_tokens"]
        return content

    def differences(self, other: Manifest) -> list[str]:
        """Returns one phrase per setting that differs from ``other``; variants and ``made_by`` may differ."""
        names = ("feature_dim", "num_tokens", "dtype", "fps", "mean", "std", "channels")
        own, wanted = ({name: getattr(manifest, name) for name in names} for manifest in (self, other))
        return [*describe_differences(self.source, other.source), *describe_differences(own, wanted)]


def _check_values(*described: Manifest | Variant) -> None:
    """Raises ``TypeError`` for a value of another type than its class states, or a number below 0."""
    for item in described:
        for name, hint in get_type_hints(type(item)).items():
            value, kind = getattr(item, name), get_origin(hint) or hint
            if not isinstance(value, int | float if kind is float else kind):
                raise TypeError(f"{name} = {value!r} is not {kind.__name__}")
            if isinstance(value, int | float) and not 0 <= value < math.inf:
                raise TypeError(f"{name} = {value!r} is not 0 or more")


def describe_differences(cached: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Returns one phrase per value that differs between two mappings of plain values."""
    return [
        f"{name}: the cache has {cached.get(name)}, needed is {wanted.get(name)}"
        for name in {**wanted, **cached}
        if _comparable(cached.get(name)) != _comparable(wanted.get(name))
    ]


def _comparable(value: Any) -> Any:
    """Returns the mapping that a text holds, whose entries may be in another order; else the value."""
    if isinstance(value, str) and value.startswith("{"):
        with contextlib.suppress(Exception):  # of many types, such as TypeError for {[]: 1}
            return ast.literal_eval(value)
    return value


class FeatureNames:
    """Names of the videos of a data set in a cache.

    Args:
        roots: folders of the data set; the name of a video below one of them is its path from there.

    >>> names = FeatureNames(["/data/videos"])
    >>> names("/data/videos/cooking/1.mp4")
    'cooking/1.mp4'
    """

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = [os.path.join(os.path.abspath(root), "") for root in roots if root]

    def __call__(self, path: str) -> str:
        """Returns a relative path that does not leave the folder it is joined to, whatever ``path`` is.

        A member of an archive has the name of the file that it was made of, so that a cache serves the files
        and the archives; without one a name of archive and member.
        """
        if isinstance(path, TarMember) and path.original:
            return _relative(path.original)
        if isinstance(path, TarMember):
            path = os.path.join(path.archive.removesuffix(".tar"), path.member)
        absolute = os.path.abspath(path)
        for root in self._roots:
            if absolute.startswith(root):
                return absolute.removeprefix(root)
        return _relative(path)


def _relative(path: str) -> str:
    """Returns a path without the parts that lead out of the folder it is joined to."""
    parts = os.path.normpath(path).split(os.sep)
    return os.sep.join("%2E%2E" if part == os.pardir else part for part in parts if part)


def features_path(folder: str | Path, variant: Variant, name: str) -> Path:
    """Returns the path of the features of a video in a cache."""
    return Path(folder, variant.name, f"{_storable(name)}.npy")


def times_path(folder: str | Path, name: str) -> Path:
    """Returns the path of the display times of a video in a cache."""
    return Path(folder, "times", f"{_storable(name)}.npy")


def part_path(features: Path) -> Path:
    """Returns the path of features that are not complete yet, by that of the complete ones."""
    return features.with_suffix(f"{_PART}.npy")


def _storable(name: str) -> str:
    """Returns the name of a video in another form where files in the cache cannot have it.

    A video ``a.mp4.part``, such as an unfinished download, would have the incomplete features of ``a.mp4``.
    Very long names have a hash in place of their end.
    """
    head, last = os.path.split(name)
    if last.endswith(_PART):
        last = f"{last.removesuffix(_PART)}%2E{_PART[1:]}"
    encoded = os.fsencode(last)
    if len(encoded) > _MAX_NAME:
        digest = hashlib.blake2b(encoded, digest_size=16).hexdigest()
        last = f"{encoded[: _MAX_NAME - 40].decode(errors='ignore')}-{digest}"
    return os.path.join(head, last)


def by_scaling(variants: Sequence[Variant]) -> Iterator[list[Variant]]:
    """Groups variants that can be cropped from the same scaled frames."""
    scaling = attrgetter("short_side", "interpolation", "picture_multiple")
    for _, group in groupby(sorted(variants, key=scaling), scaling):
        yield [*group]
