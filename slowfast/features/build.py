"""Readers of features from a configuration; features that do not fit the configuration are refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from fvcore.common.config import CfgNode

from slowfast.datasets.annotations import Annotations
from slowfast.datasets.build import READER_REGISTRY, BuiltReader, ReaderRequest
from slowfast.datasets.video_dataset import FeatureOrigin
from slowfast.datasets.views.view_reader import ClipViews, TrainingViews, WholeVideoViews
from slowfast.errors import ConfigError, DataError, DecodeError
from slowfast.features.batch import FeatureClip
from slowfast.features.cache import FeatureNames, Manifest, Variant, describe_differences, features_path
from slowfast.features.cache_reader import CacheReader
from slowfast.features.file_reader import FeatureFileReader
from slowfast.log import get_logger, log_once

_logger = get_logger(__name__)

# Single videos may be missing; where all of the first ones are, the features belong to another data set.
_PROBED = 100


def build_feature_names(cfg: CfgNode, annotations: Annotations) -> FeatureNames:
    """Returns the function from a video's path to its name in a feature cache.

    Raises:
        ConfigError: where two videos in shards have one name and would share their features.
    """
    names = FeatureNames([annotations.paths.prefix, cfg.DATA.PATH_TO_DATA_DIR])
    if annotations.shards is not None and (twins := annotations.shards.twins):
        raise ConfigError(
            f"DATA.FEATURES = {cfg.DATA.FEATURES!r}: must be '' for these shards, since {twins[0]} and "
            f"{twins[1]} are both copies of {twins[2]!r} and would share their features; write the shards "
            "from one list, or extract each set of shards into a folder of its own"
        )
    return names


def channel_order(*, reverse: bool) -> str:
    """Returns the order of the channels of a frame: RGB, or BGR where it is reversed."""
    return "BGR" if reverse else "RGB"


@READER_REGISTRY.register("feature_cache")
def build_cache_reader(cfg: CfgNode, request: ReaderRequest) -> BuiltReader:
    """Builds the reader of the cache in ``DATA.FEATURES``.

    Raises:
        ConfigError: where the cache was extracted with other settings than the configuration has; lists what
            differs.
        DataError: where the cache is missing, or has none of the first videos.
    """
    folder, annotations, scheme = cfg.DATA.FEATURES, request.annotations, request.scheme
    manifest = Manifest.read(folder)
    wanted = {
        "frames per second (DATA.FEATURES_FPS)": cfg.DATA.FEATURES_FPS,
        "channels": channel_order(reverse=cfg.DATA.REVERSE_INPUT_CHANNEL),
    }
    cached = dict(zip(wanted, (manifest.fps, manifest.channels), strict=True))
    if different := describe_differences(cached, wanted):
        raise ConfigError(describe_mismatch(folder, different))
    names = build_feature_names(cfg, annotations)
    variants = _build_variants(cfg, manifest.variants, request, names)
    reader = CacheReader(scheme, request.position_rate, folder, manifest, names, variants)
    _check_some(
        annotations,
        reader.check_present,
        f"DATA.FEATURES = {folder!r}: has none of the first videos of this split; extract them with "
        "`slowfast extract`, with TRAIN.ENABLE True for train and val, and TEST.ENABLE True for test",
    )
    shown = ", ".join(variant.name for choice in variants.values() for variant in choice)
    tokens = f"{manifest.num_tokens} tokens, " if manifest.num_tokens > 1 else ""
    # The splits mostly read the same features.
    log_once(_logger, f"features: {folder}, {manifest.dtype}, {tokens}width {manifest.feature_dim}, {shown}")
    if isinstance(scheme, TrainingViews) and len(variants[0]) == 1:
        _logger.info(
            "features: training uses this one view of each frame; extract more with the options --flips, "
            "--crops and --short-sides of `slowfast extract`"
        )
    return BuiltReader(reader, FeatureClip, FeatureOrigin(folder, manifest))


@READER_REGISTRY.register("feature_files")
def build_file_reader(cfg: CfgNode, request: ReaderRequest) -> BuiltReader:
    """Builds the reader of the feature files in a list.

    Raises:
        ConfigError: where views have several crops.
        DataError: where none of the first files can be read.
    """
    if request.scheme.num_crops > 1:
        raise ConfigError(
            f"TEST.NUM_SPATIAL_CROPS = {request.scheme.num_crops}: must be 1 for the data set 'features', "
            "whose files have one row per frame and no crops; use 1"
        )
    reader = FeatureFileReader(
        request.scheme,
        request.position_rate,
        cfg.DATA.FEATURES_FPS,
        cfg.DATA.FEATURES_LAYOUT,
        request.feature_shape,
    )
    _check_some(request.annotations, reader.open, "none of the first feature files can be read")
    return BuiltReader(reader, FeatureClip, FeatureOrigin(cfg.DATA.PATH_TO_DATA_DIR))


def describe_mismatch(folder: str, differences: Sequence[str]) -> str:
    """Returns the message about a cache that does not fit the configuration."""
    return (
        f"DATA.FEATURES = {folder!r}: was extracted with other settings: {'; '.join(differences)}; use the "
        "configuration and weights of the extraction, or extract into another folder"
    )


def evaluation_variants(scheme: ClipViews | WholeVideoViews) -> list[Variant]:
    """Returns the variants that evaluation uses, one per crop."""
    return [
        Variant(
            scheme.short_side,
            scheme.crop_size,
            crop,
            scheme.num_crops,
            interpolation=scheme.interpolation,
            picture_multiple=scheme.picture_multiple,
        )
        for crop in range(scheme.num_crops)
    ]


def _build_variants(
    cfg: CfgNode, cached: Sequence[Variant], request: ReaderRequest, names: FeatureNames
) -> Mapping[int, tuple[Variant, ...]]:
    """Returns the cached variants of each crop."""
    folder, scheme = cfg.DATA.FEATURES, request.scheme
    if isinstance(scheme, TrainingViews):
        videos = [*islice(request.annotations.paths, _PROBED)]
        present = _present_variants(cached, folder, videos, names)
        multiple = cfg.DATA.TEST_PICTURE_MULTIPLE if cfg.DATA.TEST_WHOLE_PICTURE else 0
        return {0: _training_variants(present, scheme, folder, multiple)}
    wanted = evaluation_variants(scheme)
    if missing := [variant.name for variant in wanted if variant not in cached]:
        raise ConfigError(describe_mismatch(folder, [_transform_difference(cached, missing)]))
    return {crop: (variant,) for crop, variant in enumerate(wanted)}


def _present_variants(
    cached: Sequence[Variant], folder: str, videos: Sequence[str], names: FeatureNames
) -> Sequence[Variant]:
    """Returns the variants that exist of one of these videos; all variants where none of the videos has any.

    A manifest lists the variants of all splits, but the videos of a split have only those that it needs.
    """
    present = [
        variant
        for variant in cached
        # Not ``Path.is_file``, which may raise ``PermissionError``.
        if any(os.path.isfile(features_path(folder, variant, names(video))) for video in videos)
    ]
    return present or cached


def _training_variants(
    cached: Sequence[Variant], scheme: TrainingViews, folder: str, picture_multiple: int
) -> tuple[Variant, ...]:
    """Returns the cached variants that the random crop and flip of training could produce.

    Args:
        picture_multiple: above 0: also whole pictures whose sides are multiples of this many pixels.
    """
    low, high = scheme.short_sides

    def is_usable(variant: Variant) -> bool:
        if variant.flip and not scheme.flip:
            return False
        if variant.picture_multiple:
            return variant.picture_multiple == picture_multiple
        fits = scheme.crop_area is not None or low <= variant.short_side <= high
        return fits and variant.crop_size == scheme.crop_size

    chosen = tuple(filter(is_usable, cached))
    if not chosen:
        wanted = f"crop{scheme.crop_size} of a short side {low} to {high}"
        raise ConfigError(describe_mismatch(folder, [_transform_difference(cached, [wanted])]))
    return chosen


def _transform_difference(cached: Sequence[Variant], wanted: Sequence[str]) -> str:
    has = ", ".join(variant.name for variant in cached)
    return f"transform: the cache has {has}, needed is {', '.join(wanted)}"


def _check_some(annotations: Annotations, read: Callable[[str], object], message: str) -> None:
    """Raises ``DataError`` unless ``read`` succeeds for one of the first videos."""
    first: Exception | None = None
    for path in islice(annotations.paths, _PROBED):
        try:
            read(path)
        except (DecodeError, OSError) as error:
            first = first or error
        else:
            return
    raise DataError(f"{message}; the first error: {first}")
