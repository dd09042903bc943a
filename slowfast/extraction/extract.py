"""Making a feature cache of a data set: what is to be made, by which process, and what became of it."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from slowfast import __version__
from slowfast.checkpoint.weights import load_model_weights
from slowfast.datasets.build import read_annotations, video_opener, view_scheme
from slowfast.datasets.views.view_reader import TrainingViews
from slowfast.distributed.world import World
from slowfast.engine.evaluator import build_precision, build_seeded_model, frame_normalization
from slowfast.engine.training.training_log import log_broken
from slowfast.errors import ConfigError, DataError, SlowFastError
from slowfast.extraction.video import VideoExtractor
from slowfast.extraction.worker import ExtractionWork, SplitVideos
from slowfast.features.build import channel_order, evaluation_variants, feature_names
from slowfast.features.cache import MANIFEST, Manifest, Variant
from slowfast.files import write_text
from slowfast.interrupt import Interrupt
from slowfast.log import get_logger
from slowfast.models.capabilities import FeatureModel
from slowfast.models.frame_format import adopt_frame_format
from slowfast.video.decoding import describe_backend

logger = get_logger(__name__)


@dataclass(frozen=True)
class ExtractionRequest:
    """What to extract beside what the configuration says.

    Attributes:
        dtype: number type of the files, a key of ``slowfast.features.storage.STORED``.
        checkpoint: weights of the model; empty: those that it is built with.
        short_sides: of the pictures that training crops are cut from; empty: the least of
            ``DATA.TRAIN_JITTER_SCALES``.
        crops: training crops of each, along the long side.
        flips: also the mirror image of each training crop.
    """

    dtype: str = "float16"
    checkpoint: str = ""
    short_sides: tuple[int, ...] = ()
    crops: int = 1
    flips: bool = False


def extract_features(cfg: Any, world: World, interrupt: Interrupt, request: ExtractionRequest) -> None:
    """Makes the features of all videos of the enabled parts in ``DATA.FEATURES``, or the rest of them.

    Videos are dealt out to the processes by their names. What cannot be decoded is logged and listed in
    ``broken-RANK.json`` in the folder.

    Raises:
        ConfigError: where the folder holds features of other weights, pictures or rates; names what differs.
        Interrupted: after a signal; the same call goes on.
        DataError: where no video at all could be read, or features cannot be written.
    """
    model = _build_model(cfg, world, request)
    cfg = adopt_frame_format(cfg, model)
    splits = [_plan_split(cfg, split, world, request) for split in _enabled_splits(cfg)]
    manifest = _claim_folder(cfg, world, _describe(cfg, model, request, splits))
    # Variants may be added later, and what is there of the others stays as it is.
    settings = replace(manifest, variants=(), made_by={})
    extractor = VideoExtractor(
        model,
        cfg.DATA.FEATURES,
        manifest,
        hashlib.sha256(json.dumps(asdict(settings)).encode()).hexdigest()[:16],
        world.device,
        build_precision(cfg, world),
        interrupt,
    )
    run = ExtractionWork(extractor, splits, interrupt)
    run.finish(world, threads=max(cfg.DATA_LOADER.NUM_WORKERS, 1))
    _report(run, Path(cfg.DATA.FEATURES, f"broken-{world.rank}.json"))


def _build_model(cfg: Any, world: World, request: ExtractionRequest) -> Any:
    model: Any = build_seeded_model(cfg, world, fetch_weights=not request.checkpoint)
    if request.checkpoint:
        load_model_weights(model, request.checkpoint, reset_head=cfg.TRAIN.CHECKPOINT_RESET_HEAD)
    if not isinstance(model, FeatureModel):
        raise ConfigError(
            f"MODEL.MODEL_NAME = {cfg.MODEL.MODEL_NAME!r}: makes no features of single frames; choose a "
            "model that looks frame by frame"
        )
    return model.eval()


def _enabled_splits(cfg: Any) -> list[str]:
    splits = [*(["train", "val"] if cfg.TRAIN.ENABLE else []), *(["test"] if cfg.TEST.ENABLE else [])]
    if not splits:
        raise ConfigError("TRAIN.ENABLE = False: TEST.ENABLE is False too; enable the part to extract")
    return splits


def _plan_split(cfg: Any, split: str, world: World, request: ExtractionRequest) -> SplitVideos:
    annotations = read_annotations(cfg, split)
    names = feature_names(cfg, annotations)
    rows, seen = array("q"), set[int]()
    for row, path in enumerate(annotations.paths):
        name = names(path).encode(errors="surrogateescape")
        key = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")
        # Several rows may be parts of one file.
        if key % world.size == world.rank and key not in seen:
            seen.add(key)
            rows.append(row)
    opener = video_opener(annotations, cfg.DATA.DECODING_BACKEND)
    return SplitVideos(split, annotations, names, opener, tuple(_variants(cfg, split, request)), rows)


def _variants(cfg: Any, split: str, request: ExtractionRequest) -> Iterator[Variant]:
    """What of each video a split needs."""
    scheme = view_scheme(cfg, split)
    if not isinstance(scheme, TrainingViews):
        yield from evaluation_variants(scheme)
        return
    for side in request.short_sides or scheme.short_sides[:1]:
        if side < scheme.crop_size:
            raise ConfigError(
                f"--short-sides {side}: is less than DATA.TRAIN_CROP_SIZE = {scheme.crop_size}; use more"
            )
        for crop in range(request.crops):
            variant = Variant(side, scheme.crop_size, crop, request.crops, interpolation=scheme.interpolation)
            yield from (variant, replace(variant, flip=True)) if request.flips else (variant,)


def _describe(cfg: Any, model: Any, request: ExtractionRequest, splits: Sequence[SplitVideos]) -> Manifest:
    mean, std = frame_normalization(cfg, model)
    return Manifest(
        source=dict(model.feature_source()),
        feature_dim=model.feature_dim,
        dtype=request.dtype,
        fps=cfg.DATA.FEATURES_FPS,
        mean=mean,
        std=std,
        channels=channel_order(cfg),
        variants=tuple(dict.fromkeys(variant for split in splits for variant in split.variants)),
        made_by={
            "code": f"slowfast {__version__}, torch {torch.__version__}",
            "decoder": describe_backend(cfg.DATA.DECODING_BACKEND),
            "checkpoint": request.checkpoint,
            "mixed precision": str(cfg.TRAIN.MIXED_PRECISION),
        },
    )


def _claim_folder(cfg: Any, world: World, wanted: Manifest) -> Manifest:
    """Writes the manifest, or adds variants to the one that is there; the same on all ranks."""
    result: Manifest | SlowFastError = wanted
    if world.is_main:
        try:
            result = _write_manifest(Path(cfg.DATA.FEATURES), wanted)
        except SlowFastError as error:
            result = error
    result = world.all_gather_objects(result)[0]
    if isinstance(result, SlowFastError):
        raise result
    return result


def _write_manifest(folder: Path, wanted: Manifest) -> Manifest:
    try:
        if (folder / MANIFEST).exists():
            present = Manifest.read(folder)
            different = present.differences(wanted)
            if not _holds_features(folder, present):
                present = wanted
            elif different:
                problem = f"DATA.FEATURES = {str(folder)!r}: holds other features: {'; '.join(different)}"
                raise ConfigError(f"{problem}; name another folder, or delete this one")
            wanted = replace(present, variants=tuple(dict.fromkeys([*present.variants, *wanted.variants])))
        wanted.write(folder)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written ({error.strerror}); choose another DATA.FEATURES"
        ) from error
    return wanted


def _holds_features(folder: Path, manifest: Manifest) -> bool:
    """Whether any video is complete."""
    files = (path for variant in manifest.variants for path in Path(folder, variant.name).rglob("*.npy"))
    return any(not path.name.endswith(".part.npy") for path in files)


def _report(run: ExtractionWork, path: Path) -> None:
    log_broken(run.broken, "features: not made")
    if run.broken:
        content = [
            {"path": video.path, "reason": video.reason, "detail": video.detail} for video in run.broken
        ]
        write_text(path, json.dumps(content, indent=1) + "\n")
        logger.info("features: broken videos are listed in %s", path)
    else:
        path.unlink(missing_ok=True)
    made = run.videos - len(run.broken)
    logger.info(
        "features: %d of %d videos of this process are in %s, %d frames seen",
        made,
        run.total,
        path.parent,
        run.frames,
    )
    if run.total and not made:
        raise DataError("no video could be read; the reasons are listed above")
