"""Statistics of the training features, for models that standardise their input.

B clips, T frames, M tokens of a frame, F width of a feature.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from slowfast.datasets.clip import Batch, Normalization
from slowfast.datasets.loading.loader import ClipLoader
from slowfast.datasets.loading.samplers import TrainingSampler
from slowfast.distributed.device import widest_float
from slowfast.distributed.world import World
from slowfast.errors import ConfigError, DataError
from slowfast.features.batch import FeatureBatch
from slowfast.interrupt import Interrupt
from slowfast.log import get_logger
from slowfast.models.capabilities import FeatureModel, StandardizesFeatures
from slowfast.models.precision import Precision

logger = get_logger(__name__)


@torch.no_grad()
def set_feature_statistics(
    model: Any,
    loader: ClipLoader,
    world: World,
    normalization: Normalization,
    *,
    precision: Precision,
    interrupt: Interrupt,
) -> None:
    """Sets the statistics of a model that needs them, from one clip per training video; all ranks call it.

    The clips are those of the first epoch. The result is the same on all ranks.

    Args:
        model: before it is distributed; without effect unless it is a
            :class:`slowfast.models.capabilities.StandardizesFeatures` without statistics.
        loader: of this rank's training batches.
        normalization: of frames.
        precision: in which frames are encoded.
        interrupt: checked after each batch.

    Raises:
        ConfigError: for a model whose features change in training.
        DataError: where no training clip can be read.
        Interrupted: after a signal.
    """
    if not isinstance(model, StandardizesFeatures) or not model.needs_feature_statistics:
        return
    if not isinstance(model, FeatureModel) or model.learns_features:
        raise ConfigError(
            f"{type(model).__name__} standardises features that its training changes; freeze its frame "
            "encoder, or let it use features as they are"
        )
    count, sums = _sum_features(model, loader, world.device, normalization, precision, interrupt)
    count, sums = world.all_reduce_sum(count), world.all_reduce_sum(sums)
    if count == 0:
        raise DataError("no training clip could be read, so that features cannot be standardised")
    center, squares = sums / count
    deviation = (squares - center.square()).clamp(min=0).sqrt()
    model.set_feature_statistics(center.float(), deviation.float(), int(count))
    logger.info("features are standardised by the statistics of %s training features", f"{int(count):,}")


def _sum_features(
    model: Any,
    loader: ClipLoader,
    device: torch.device,
    normalization: Normalization,
    precision: Precision,
    interrupt: Interrupt,
) -> tuple[Tensor, Tensor]:
    """Returns the number () of this rank's features of the first epoch, and the sums (2, F) over them.

    They are of values and of squares, in float64, since their difference is small.
    """
    wide = widest_float(device)
    count = torch.zeros((), dtype=wide, device=device)
    sums = torch.zeros(2, model.feature_dim, dtype=wide, device=device)
    was_training = model.training
    model.eval()
    cast(TrainingSampler, loader.batch_sampler).set_position(0, 0)
    for batch in loader:
        if batch.num_clips == 0:
            continue
        interrupt.raise_if_requested()
        clips = _without_padding(batch.to(device).inputs(normalization), batch)
        if not isinstance(batch, FeatureBatch):
            with precision.autocast():
                clips = [model.encode_frames(frames) for frames in clips]
        rows = torch.cat([features.reshape(-1, model.feature_dim).to(wide) for features in clips])
        count += len(rows)
        sums += torch.stack([rows.sum(dim=0), rows.square().sum(dim=0)])
    model.train(was_training)
    return count, sums


def _without_padding(inputs: Tensor, batch: Batch) -> list[Tensor]:
    """Returns the inputs of a model as they are, or clip by clip without the frames that only fill up.

    Args:
        inputs: frames (B, 3, T, H, W), or features (B, T, F) or (B, T, M, F).
        batch: of the inputs, in host memory.
    """
    if batch.mask is None:
        return [inputs]
    time = 1 if isinstance(batch, FeatureBatch) else 2
    lengths = batch.mask.sum(dim=1).tolist()
    return [inputs[i : i + 1].narrow(time, 0, length) for i, length in enumerate(lengths)]
