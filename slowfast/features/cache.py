"""A folder of features, one row a frame, made once of the videos of a data set.

``manifest.json`` says what they are the features of. ``times/NAME.npy`` holds when each row's frame is shown,
``VARIANT/NAME.npy`` the rows: a variant is a crop, mirrored or not. NAME is the video's path within its data
set, so that people find one from the other. T rows, F width of a feature.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from slowfast.datasets.views.spatial import fixed_crop
from slowfast.errors import DataError
from slowfast.features.storage import STORED
from slowfast.files import atomic_write, write_text
from slowfast.video.frame_times import FrameTimes
from slowfast.video.placement import Placer, scaled_by

MANIFEST = "manifest.json"
TIMES = "times"
# Of the layout described above; a reader refuses others.
FORMAT = 1


@dataclass(frozen=True)
class Variant:
    """One way in which frames were shown to the backbone.

    Attributes:
        short_side: pixels to which the short side was scaled.
        crop_size: pixels of the square that was cut out.
        crop, num_crops: crop number ``crop`` of ``num_crops`` along the long side.
        flip: mirrored left to right.
        interpolation: of the scaling.
    """

    short_side: int
    crop_size: int
    crop: int = 0
    num_crops: int = 1
    flip: bool = False
    interpolation: str = "bilinear"

    @property
    def name(self) -> str:
        """Of its folder."""
        mirrored = "-flip" if self.flip else ""
        scaled = "" if self.interpolation == "bilinear" else f"-{self.interpolation}"
        return (
            f"short{self.short_side}-crop{self.crop_size}-{self.crop + 1}of{self.num_crops}{mirrored}{scaled}"
        )

    @property
    def placer(self) -> Placer:
        """Where the crop lies in the picture, not mirrored."""
        crop = fixed_crop(self.short_side, self.crop_size, self.crop, self.num_crops)
        return scaled_by(self.interpolation, crop)


@dataclass(frozen=True)
class Manifest:
    """What a folder's features are the features of.

    Attributes:
        source: of what made them, plain values by name: the backbone, its weights, …
        feature_dim: F.
        dtype: number type, a key of ``slowfast.features.storage.STORED``.
        fps: frames a second that were looked at; 0: every frame.
        mean, std: normalisation per channel, of pixels scaled to 0 … 1.
        channels: their order, RGB or BGR.
        variants: what there is of each video.
        made_by: what else a person may want to know: version of the code, decoder, number type of the
            computation. No reason to refuse a cache.
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

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """Reads the manifest of a folder.

        Raises:
            DataError: where there is none, or none that this version understands.
        """
        path = Path(folder, MANIFEST)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content.pop("format")
            if version != FORMAT:
                raise DataError(
                    f"{path}: has format {version}; this version reads {FORMAT}; extract it again"
                )
            for name in ("mean", "std"):
                content[name] = tuple(content[name])
            content["variants"] = tuple(Variant(**variant) for variant in content["variants"])
            manifest = cls(**content)
        except FileNotFoundError as error:
            raise DataError(
                f"{folder} has no {MANIFEST}, so it is no feature cache; make one with "
                "tools/extract_features.py, or read features made elsewhere with the data set 'features'"
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} cannot be read ({type(error).__name__}: {error}); extract it again"
            ) from error
        if manifest.dtype not in STORED:
            raise DataError(f"{path}: features are {manifest.dtype!r}; known are {', '.join(STORED)}")
        return manifest

    def write(self, folder: str | Path) -> None:
        """Writes the manifest of a folder, atomically."""
        content = {"format": FORMAT, **asdict(self)}
        write_text(Path(folder, MANIFEST), json.dumps(content, indent=2) + "\n")

    def differences(self, other: Manifest) -> list[str]:
        """In what features differ from those of ``other``, in words; variants and ``made_by`` may differ."""
        names = ("feature_dim", "dtype", "fps", "mean", "std", "channels")
        return [
            *describe_differences(self.source, other.source),
            *describe_differences(
                {name: getattr(self, name) for name in names}, {name: getattr(other, name) for name in names}
            ),
        ]


@dataclass(frozen=True)
class FeatureOrigin:
    """Where the features of a data set are from.

    Attributes:
        folder: of the cache; of files made elsewhere, the data set's.
        manifest: what the features are of; None where nobody says.
    """

    folder: str
    manifest: Manifest | None = None


def describe_differences(cached: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Returns one phrase per value in which two mappings of plain values differ."""
    return [
        f"{name}: the cache has {cached.get(name)}, wanted is {wanted.get(name)}"
        for name in {**wanted, **cached}
        if _comparable(cached.get(name)) != _comparable(wanted.get(name))
    ]


def _comparable(value: Any) -> Any:
    """Turns the text of a mapping into the mapping: a YAML file may hold its entries in another order."""
    if isinstance(value, str) and value.startswith("{"):
        with contextlib.suppress(ValueError, SyntaxError):
            return ast.literal_eval(value)
    return value


class FeatureNames:
    """Names of videos within their data set.

    Args:
        roots: folders that the data set may lie in; paths below one of them are named from there on.
    """

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = [os.path.join(os.path.abspath(root), "") for root in roots if root]

    def __call__(self, path: str) -> str:
        """A relative path that stays in its folder, whatever ``path`` is."""
        absolute = os.path.abspath(path)
        for root in self._roots:
            if absolute.startswith(root):
                return absolute.removeprefix(root)
        parts = os.path.normpath(path).split(os.sep)
        return os.sep.join("%2E%2E" if part == os.pardir else part for part in parts if part)


def features_path(folder: str | Path, variant: Variant, name: str) -> Path:
    return Path(folder, variant.name, f"{name}.npy")


def times_path(folder: str | Path, name: str) -> Path:
    return Path(folder, TIMES, f"{name}.npy")


def write_times(path: Path, times: FrameTimes, numbers: NDArray[np.int64], num_frames: int) -> None:
    """Writes when the T frames are shown and which of the video's ``num_frames`` they are.

    The file is an array (2, T + 1) of float64: seconds of each frame and, last, the video's duration; the
    number of each frame in the video and, last, how many there are.
    """
    seconds = np.append(times.seconds, times.duration)
    with atomic_write(path) as temporary:
        np.save(temporary, np.stack([seconds, np.append(numbers, num_frames).astype(np.float64)]))


def split_times(table: NDArray[np.float64]) -> tuple[FrameTimes, NDArray[np.int64]]:
    """Turns what :func:`write_times` wrote into the rows' times and frame numbers (T,)."""
    if table.ndim != 2 or table.shape[0] != 2 or table.shape[1] < 2:
        raise ValueError(f"times have shape {table.shape}, not (2, frames + 1)")
    return FrameTimes(table[0, :-1], float(table[0, -1])), table[1, :-1].astype(np.int64)


def by_short_side(variants: Sequence[Variant]) -> Iterator[list[Variant]]:
    """Groups variants that can be cut from the same scaled pictures."""
    scaled = [(variant.short_side, variant.interpolation) for variant in variants]
    for key in sorted(set(scaled)):
        yield [variant for variant, its_key in zip(variants, scaled, strict=True) if its_key == key]
