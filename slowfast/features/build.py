"""From a configuration to what reads features in place of frames; features that do not fit are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from slowfast.datasets.annotations import Annotations
from slowfast.datasets.build import READER_REGISTRY, BuiltReader, ReaderRequest
from slowfast.datasets.views.view_reader import ClipViews, TrainingViews, WholeVideoViews
from slowfast.errors import ConfigError, DataError, DecodeError
from slowfast.features.batch import FeatureClip
from slowfast.features.cache import (
    FeatureNames,
    FeatureOrigin,
    Manifest,
    Variant,
    describe_differences,
    times_path,
)
from slowfast.features.reader import CacheReader, FeatureFileReader
from slowfast.log import get_logger

_logger = get_logger(__name__)

Views = TrainingViews | ClipViews | WholeVideoViews

# Some videos are always missing; where all of the first ones are, the whole is another data set's.
_PROBED = 100


def feature_names(cfg: Any, annotations: Annotations) -> FeatureNames:
    """How the videos of a data set are named in a feature cache."""
    return FeatureNames([annotations.paths.prefix, cfg.DATA.PATH_TO_DATA_DIR])


def channel_order(cfg: Any) -> str:
    """The order in which frames' channels are given: RGB or BGR."""
    return "BGR" if cfg.DATA.REVERSE_INPUT_CHANNEL else "RGB"


@READER_REGISTRY.register("feature_cache")
def _from_cache(cfg: Any, request: ReaderRequest) -> BuiltReader:
    built = build_cache_reader(cfg, request.annotations, request.scheme, request.position_rate)
    return BuiltReader(built[0], FeatureClip, built[1])


@READER_REGISTRY.register("feature_files")
def _from_files(cfg: Any, request: ReaderRequest) -> BuiltReader:
    built = build_file_reader(
        cfg, request.annotations, request.scheme, request.position_rate, request.feature_dim
    )
    return BuiltReader(built[0], FeatureClip, built[1])


def build_cache_reader(
    cfg: Any, annotations: Annotations, scheme: Views, position_rate: float | None
) -> tuple[CacheReader, FeatureOrigin]:
    """Builds the reader of the cache in ``DATA.FEATURES``.

    Raises:
        ConfigError: where the cache was made in another way than the configuration wants; names what differs.
        DataError: where there is no cache, or none of these videos.
    """
    folder = cfg.DATA.FEATURES
    manifest = Manifest.read(folder)
    wanted = {"frames a second (DATA.FEATURES_FPS)": cfg.DATA.FEATURES_FPS, "channels": channel_order(cfg)}
    cached = dict(zip(wanted, (manifest.fps, manifest.channels), strict=True))
    if different := describe_differences(cached, wanted):
        raise ConfigError(refusal(folder, different))
    variants = (
        {0: _training_variants(manifest.variants, scheme, folder)}
        if isinstance(scheme, TrainingViews)
        else _evaluation_variants(manifest.variants, scheme, folder)
    )
    reader = CacheReader(
        scheme,
        position_rate,
        folder,
        feature_names(cfg, annotations),
        manifest.feature_dim,
        manifest.dtype,
        variants,
    )
    _check_some(
        annotations,
        lambda path: times_path(folder, reader.names(path)).stat(),
        f"DATA.FEATURES = {folder!r}: has none of the first videos of this split; extract them with "
        "tools/extract_features.py (it takes the splits whose part, TRAIN or TEST, is enabled)",
    )
    shown = ", ".join(variant.name for choice in variants.values() for variant in choice)
    _logger.info("features: %s, %s, width %d, %s", folder, manifest.dtype, manifest.feature_dim, shown)
    if isinstance(scheme, TrainingViews) and len(variants[0]) == 1:
        _logger.info(
            "features: in training each frame is seen in this one crop; tools/extract_features.py --flips, "
            "--crops and --short-sides cache more"
        )
    return reader, FeatureOrigin(folder, manifest)


def build_file_reader(
    cfg: Any, annotations: Annotations, scheme: Views, position_rate: float | None, feature_dim: int | None
) -> tuple[FeatureFileReader, FeatureOrigin]:
    """Builds the reader of feature files that a list names.

    Args:
        feature_dim: what the model takes; None: anything.

    Raises:
        ConfigError: where views of several crops are asked for.
        DataError: where none of the first files can be read.
    """
    if scheme.num_crops > 1:
        raise ConfigError(
            f"TEST.NUM_SPATIAL_CROPS = {scheme.num_crops}: files of the data set 'features' have one "
            "row a frame and no crops; use 1"
        )
    reader = FeatureFileReader(
        scheme, position_rate, cfg.DATA.FEATURES_FPS, cfg.DATA.FEATURES_LAYOUT, feature_dim
    )
    _check_some(annotations, reader.open, "none of the first feature files can be read")
    return reader, FeatureOrigin(cfg.DATA.PATH_TO_DATA_DIR)


def refusal(folder: str, differences: Sequence[str]) -> str:
    """The sentence that refuses a cache."""
    return (
        f"DATA.FEATURES = {folder!r}: was made in another way: {'; '.join(differences)}; use the "
        "configuration and weights that it was made with, or extract into another folder"
    )


def evaluation_variants(scheme: ClipViews | WholeVideoViews) -> list[Variant]:
    """The variants that evaluation shows, by crop."""
    return [
        Variant(
            scheme.short_side, scheme.crop_size, crop, scheme.num_crops, interpolation=scheme.interpolation
        )
        for crop in range(scheme.num_crops)
    ]


def _evaluation_variants(
    cached: Sequence[Variant], scheme: ClipViews | WholeVideoViews, folder: str
) -> Mapping[int, tuple[Variant, ...]]:
    wanted = evaluation_variants(scheme)
    if missing := [variant.name for variant in wanted if variant not in cached]:
        raise ConfigError(refusal(folder, [_transform_difference(cached, missing)]))
    return {crop: (variant,) for crop, variant in enumerate(wanted)}


def _training_variants(cached: Sequence[Variant], scheme: TrainingViews, folder: str) -> tuple[Variant, ...]:
    """All variants that could have come out of the training's random crop and flip."""
    low, high = scheme.short_sides
    chosen = tuple(
        variant
        for variant in cached
        if variant.crop_size == scheme.crop_size
        and (scheme.crop_area is not None or low <= variant.short_side <= high)
        and (scheme.flip or not variant.flip)
    )
    if not chosen:
        wanted = f"crop{scheme.crop_size} of a short side {low} to {high}"
        raise ConfigError(refusal(folder, [_transform_difference(cached, [wanted])]))
    return chosen


def _transform_difference(cached: Sequence[Variant], wanted: Sequence[str]) -> str:
    has = ", ".join(variant.name for variant in cached)
    return f"transform: the cache has {has}, wanted is {', '.join(wanted)}"


def _check_some(annotations: Annotations, look: Callable[[str], object], message: str) -> None:
    """Raises ``DataError`` unless one of the first videos can be looked at."""
    first: Exception | None = None
    for path in islice(annotations.paths, _PROBED):
        try:
            look(path)
        except (DecodeError, OSError) as error:
            first = first or error
        else:
            return
    raise DataError(f"{message}; the first: {first}")
