"""Extraction of the features of a data set into a cache: the plan, the manifest and the result."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode

from slowfast import __version__
from slowfast.checkpoint.resume import RESET_OPTION
from slowfast.checkpoint.weights import load_model_weights
from slowfast.datasets.annotations import Annotations
from slowfast.datasets.build import read_annotations, read_lists, video_opener
from slowfast.datasets.clip import Normalization
from slowfast.datasets.unusable_videos import log_broken
from slowfast.datasets.views.build import build_views
from slowfast.datasets.views.view_reader import TrainingViews
from slowfast.distributed.device import device_errors, is_cpu
from slowfast.distributed.world import World
from slowfast.engine.run_model import build_seeded_model
from slowfast.errors import ConfigError, DataError
from slowfast.extraction.cached_video import CachedVideoExtractor
from slowfast.extraction.claim import claim_folder
from slowfast.extraction.plan import build_encoding, estimate_rows, log_size
from slowfast.extraction.worker import ExtractionWork, SplitVideos
from slowfast.features.broken_list import BrokenEntry, update_broken
from slowfast.features.build import build_feature_names, channel_order, evaluation_variants
from slowfast.features.cache import Manifest, Variant
from slowfast.interrupt import Interrupt
from slowfast.log import get_logger
from slowfast.models.capabilities import (
    EncodingSetup,
    FeatureModel,
    clip_grid_of,
    memory_remedies,
    num_tokens_of,
)
from slowfast.models.frame_encoder import FrameEncoder
from slowfast.models.frame_format import adopt_frame_format, frame_normalization
from slowfast.models.inference.compute_threads import ComputeThreads
from slowfast.video.decoding import describe_backend

logger = get_logger(__name__)


@dataclass(frozen=True)
class ExtractionRequest:
    """Options of an extraction that are not part of the configuration.

    Attributes:
        dtype: dtype of the files, a key of ``slowfast.features.storage.STORED``.
        checkpoint: file with the weights of the model; empty: the weights that the model is built with.
        short_sides: short sides in pixels of the frames that training crops are cut from; empty: the smallest
            of ``DATA.TRAIN_JITTER_SCALES``.
        crops: number of training crops per short side, placed along the long side.
        flips: whether the mirror image of each training crop is extracted, too.
        whole_pictures: training videos: whole pictures as in the test, with ``DATA.TRAIN_CROP_SIZE`` as their
            default short side, instead of crops.
    """

    dtype: str = "float16"
    checkpoint: str = ""
    short_sides: tuple[int, ...] = ()
    crops: int = 1
    flips: bool = False
    whole_pictures: bool = False


def extract_features(cfg: CfgNode, world: World, interrupt: Interrupt, request: ExtractionRequest) -> None:
    """Extracts the features of all videos of the enabled splits into ``DATA.FEATURES``, or the rest of them.

    The splits are train and val where ``TRAIN.ENABLE`` is True, test where ``TEST.ENABLE`` is True. Videos
    are distributed over the processes by a hash of their names. Videos that cannot be decoded are logged, and
    listed in ``broken.json`` in the folder.

    Raises:
        ConfigError: where the folder holds features of other weights, frames or frame rates; lists what
            differs.
        Interrupted: after a signal; the same call continues.
        DataError: where no video at all could be read, or features cannot be written.
    """
    enabled = [*(["train", "val"] if cfg.TRAIN.ENABLE else []), *(["test"] if cfg.TEST.ENABLE else [])]
    if not enabled:
        raise ConfigError(
            "TRAIN.ENABLE = False: must be True, or TEST.ENABLE must be; enable the splits to extract"
        )
    if cfg.TRAIN.ENABLE:
        _check_whole_pictures(cfg, request)
    # What needs no model is read and checked first, since the model's weights may have to be downloaded.
    lists = read_lists(cfg, *enabled)
    model = _build_model(cfg, world, request)
    cfg = adopt_frame_format(cfg, model)
    splits = [_build_split(cfg, split, world, request, lists.get(split)) for split in enabled]
    folder = Path(cfg.DATA.FEATURES)
    rows = estimate_rows(splits, cfg.DATA.FEATURES_FPS, clip_grid_of(model))
    setup = build_encoding(cfg, model, world, rows)
    with claim_folder(folder, world, _build_manifest(cfg, model, request, splits, setup)) as manifest:
        log_size(manifest, splits, world, rows, "frame" if clip_grid_of(model) is None else "time step")
        threads = max(cfg.DATA_LOADER.NUM_WORKERS, 1)
        encoder = FrameEncoder(
            model,
            Normalization(manifest.mean, manifest.std),
            device=world.device,
            channels=manifest.channels,
            compute=ComputeThreads(threads if is_cpu(world.device) and not setup.compile else 1),
        )
        encoding = replace(setup, compile=False).describe()
        extractor = CachedVideoExtractor(encoder, str(folder), manifest, encoding, interrupt)
        work = ExtractionWork(extractor, splits, interrupt)
        remedies = (*memory_remedies(model, training=False), "fewer DATA_LOADER.NUM_WORKERS")
        with device_errors(world.device, *remedies):
            work.finish(world, threads=threads)
        _report(work, splits, folder, world)


def _build_model(cfg: CfgNode, world: World, request: ExtractionRequest) -> Any:
    """Builds the model in evaluation mode, with the weights that the request names."""
    model = build_seeded_model(cfg, world, fetch_weights=not request.checkpoint).eval()
    if request.checkpoint:
        load_model_weights(
            model,
            request.checkpoint,
            reset_head=cfg.TRAIN.CHECKPOINT_RESET_HEAD,
            reset_option=RESET_OPTION,
        )
    if not isinstance(model, FeatureModel):
        raise ConfigError(
            f"MODEL.MODEL_NAME = {cfg.MODEL.MODEL_NAME!r}: must be a model that encodes single frames; "
            "choose one with encode_frames, classify and feature_source"
        )
    return model


def _build_split(
    cfg: CfgNode, split: str, world: World, request: ExtractionRequest, annotations: Annotations | None
) -> SplitVideos:
    """Returns those videos of a split that this process extracts."""
    if annotations is None:
        annotations = read_annotations(cfg, split)
    names = build_feature_names(cfg, annotations)
    rows, first_rows = array("q"), dict[int, int]()
    for row, path in enumerate(annotations.paths):
        name = names(path)
        digest = hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()
        key = int.from_bytes(digest, "little")
        if key % world.size != world.rank:
            continue
        # Several rows may be segments of one file.
        if (first := first_rows.setdefault(key, row)) == row:
            rows.append(row)
        elif os.path.abspath(path) != os.path.abspath(other := annotations.paths[first]):
            raise ConfigError(
                f"DATA.FEATURES = {cfg.DATA.FEATURES!r}: {other} and {path} would share the features "
                f"{name!r}; extract them into folders of their own, or use one root for all paths of the list"
            )
    opener = video_opener(annotations, cfg.DATA.DECODING_BACKEND)
    return SplitVideos(split, annotations, names, opener, tuple(_build_variants(cfg, split, request)), rows)


def _build_variants(cfg: CfgNode, split: str, request: ExtractionRequest) -> Iterator[Variant]:
    """Yields the variants of each video that a split needs."""
    scheme = build_views(cfg, split)
    if not isinstance(scheme, TrainingViews):
        yield from evaluation_variants(scheme)
        return
    multiple = cfg.DATA.TEST_PICTURE_MULTIPLE if request.whole_pictures else 0
    own_sides = (scheme.crop_size,) if multiple else scheme.short_sides[:1]
    for side in request.short_sides or own_sides:
        if side < scheme.crop_size:
            raise ConfigError(
                f"--short-sides {side}: must be at least DATA.TRAIN_CROP_SIZE = {scheme.crop_size}; use more"
            )
        for crop in range(request.crops):
            variant = Variant(
                side,
                scheme.crop_size,
                crop,
                request.crops,
                interpolation=scheme.interpolation,
                picture_multiple=multiple,
            )
            yield from (variant, replace(variant, flip=True)) if request.flips else (variant,)


def _check_whole_pictures(cfg: CfgNode, request: ExtractionRequest) -> None:
    """Raises ``ConfigError`` for whole pictures of training videos that do not fit the other options."""
    if request.whole_pictures and not cfg.DATA.TEST_WHOLE_PICTURE:
        raise ConfigError(
            "DATA.TEST_WHOLE_PICTURE = False: must be True for --whole-pictures, so that the test shows what "
            "training shows; set it True, or extract crops"
        )
    if request.whole_pictures and request.crops > 1:
        raise ConfigError(f"--crops {request.crops}: must be 1 with --whole-pictures; leave one of them out")


def _build_manifest(
    cfg: CfgNode,
    model: FeatureModel,
    request: ExtractionRequest,
    splits: Sequence[SplitVideos],
    setup: EncodingSetup,
) -> Manifest:
    """Returns the manifest of the cache that is wanted."""
    normalization = frame_normalization(cfg, model)
    return Manifest(
        source=dict(model.feature_source()),
        feature_dim=model.feature_dim,
        num_tokens=num_tokens_of(model),
        dtype=request.dtype,
        fps=cfg.DATA.FEATURES_FPS,
        mean=normalization.mean,
        std=normalization.std,
        channels=channel_order(reverse=cfg.DATA.REVERSE_INPUT_CHANNEL),
        variants=tuple(dict.fromkeys(variant for split in splits for variant in split.variants)),
        made_by={
            "code": f"slowfast {__version__}, torch {torch.__version__}",
            # Of frames that are read in chunks, for every backend.
            "decoder": describe_backend("pyav"),
            "checkpoint": request.checkpoint,
            "precision": setup.precision,
            "compiled": str(setup.compile),
        },
    )


def _report(work: ExtractionWork, splits: Sequence[SplitVideos], folder: Path, world: World) -> None:
    """Logs the result of this process and writes the list of broken videos; all ranks must call it.

    Raises:
        DataError: where no process could read any video.
    """
    log_broken(work.broken.values(), "features: not extracted")
    _list_broken(work, splits, folder)
    logger.info(
        "features: %d of %d videos of this process are in %s, %d frames encoded",
        work.complete,
        work.total,
        folder,
        work.frames,
    )
    if not any(world.all_gather_objects(work.complete)) and any(world.all_gather_objects(work.total)):
        raise DataError("no video could be read: check the paths of the data set; the log lists the reasons")


def _list_broken(work: ExtractionWork, splits: Sequence[SplitVideos], folder: Path) -> None:
    """Writes the broken videos of this process to the list in the folder."""
    found = [BrokenEntry(video.path, video.reason, video.detail, name) for name, video in work.broken.items()]
    handled = (split.names(split.annotations.paths[row]) for split in splits for row in split.rows)
    try:
        path = update_broken(folder, found, handled)
    except OSError as error:  # of the disk, or of the lock; the features themselves are complete
        logger.warning("features: the list of broken videos cannot be written (%s)", error)
        return
    if found:
        logger.info("features: broken videos are listed in %s", path)
