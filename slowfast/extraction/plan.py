"""The plan of an extraction: its size, and the way in which the model computes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from slowfast.distributed.world import World
from slowfast.errors import ConfigError, SlowFastError
from slowfast.extraction.cached_video import cached_rows
from slowfast.extraction.worker import SplitVideos
from slowfast.features.cache import MANIFEST, Manifest
from slowfast.features.storage import STORED
from slowfast.files import TEMPORARY_MARK
from slowfast.log import get_logger
from slowfast.models.capabilities import EncodingSetup, clip_grid_of
from slowfast.models.clip_grid import ClipGrid
from slowfast.models.inference.encoding import EncodingRequest, choose_encoding
from slowfast.progress import format_bytes

logger = get_logger(__name__)

# Videos per split whose length is looked up for the estimate of the size.
_MEASURED_VIDEOS = 8


def estimate_rows(splits: Sequence[SplitVideos], fps: float, grid: ClipGrid | None) -> float:
    """Returns the rows of all variants that this process extracts, estimated from a few videos.

    ``fps`` and ``grid`` are those of :func:`slowfast.extraction.cached_video.cached_rows`.
    """
    total = 0.0
    for split in splits:
        counts = []
        for row in split.rows[:: max(1, len(split.rows) // _MEASURED_VIDEOS)]:
            # Broken videos are reported by the extraction itself.
            with suppress(SlowFastError, OSError), split.open_source(split.annotations.paths[row]) as video:
                counts.append(cached_rows(video.times, fps, grid).count)
        total += sum(counts) / max(1, len(counts)) * len(split.rows) * len(split.variants)
    return total


def build_encoding(cfg: CfgNode, model: Any, world: World, rows: float) -> EncodingSetup:
    """Chooses how the model computes, in the precision of features that are in the folder already.

    Raises:
        ConfigError: where another precision is requested than that of the features in the folder, or one
            that the device does not support.
    """
    request = EncodingRequest.from_config(cfg, world.device)
    folder = Path(cfg.DATA.FEATURES)
    if (folder / MANIFEST).exists() and holds_features(folder, present := Manifest.read(folder)):
        precision = present.made_by.get("precision", "float32")
        if request.precision not in ("auto", precision):
            raise ConfigError(
                f"INFERENCE.PRECISION = {request.precision!r}: must be {precision} or auto, the "
                f"precision of the features in {folder}; or extract into another folder"
            )
        request = replace(request, precision=precision)
    grid = clip_grid_of(model)
    frames = rows * (1 if grid is None else grid.tubelet)
    size = cfg.DATA.TEST_CROP_SIZE
    return choose_encoding(model, request, (size, size), world.device, num_frames=frames)


def log_size(manifest: Manifest, splits: Sequence[SplitVideos], world: World, rows: float, unit: str) -> None:
    """Logs the size of the complete features.

    Args:
        rows: of this process, in all variants.
        unit: what a row stands for.
    """
    bytes_per_row = math.prod(manifest.row_shape) * STORED[manifest.dtype][1].itemsize
    logger.info(
        "features: %s %s per %s and crop, %d bytes; about %s in %s when complete",
        " × ".join(map(str, manifest.row_shape)),
        manifest.dtype,
        unit,
        bytes_per_row,
        format_bytes(round(sum(world.all_gather_objects(rows * bytes_per_row)))),
        "all splits" if len(splits) > 1 else f"split {splits[0].name}",
    )


def holds_features(folder: Path, manifest: Manifest) -> bool:
    """Returns whether the features of any video are complete."""
    files = (path for variant in manifest.variants for path in Path(folder, variant.name).rglob("*.npy"))
    return any(not path.name.endswith(".part.npy") and TEMPORARY_MARK not in path.name for path in files)
