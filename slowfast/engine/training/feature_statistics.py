"""Statistics of the training features, for models that standardise their input.

B clips, T frames, M tokens of a frame, F width of a feature.
"""

from __future__ import annotations

from typing import Any, cast

import torch

from slowfast.datasets.loading.loader import ClipLoader
from slowfast.datasets.loading.samplers import TrainingSampler
from slowfast.distributed.world import World
from slowfast.errors import ConfigError, DataError
from slowfast.features.batch import FeatureBatch
from slowfast.log import get_logger
from slowfast.models.capabilities import FeatureModel, StandardizesFeatures
from slowfast.models.precision import Precision

logger = get_logger(__name__)


@torch.no_grad()
def set_feature_statistics(
    model: Any,
    loader: ClipLoader,
    world: World,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    precision: Precision,
) -> None:
    """Sets the statistics of a model that needs them, from one clip per training video; all ranks call it.

    The clips are those of the first epoch. The result is the same on all ranks.

    Args:
        model: before it is distributed; without effect unless it is a
            :class:`slowfast.models.capabilities.StandardizesFeatures` without statistics.
        loader: of this rank's training batches.
        mean, std: normalisation of frames, per channel.
        precision: in which frames are encoded.

    Raises:
        ConfigError: for a model whose features change in training.
        DataError: where no training clip can be read.
    """
    if not isinstance(model, StandardizesFeatures) or not model.needs_feature_statistics:
        return
    if not isinstance(model, FeatureModel) or model.learns_features:
        raise ConfigError(
            f"{type(model).__name__} standardises features that its training changes; freeze its frame "
            "encoder, or let it use features as they are"
        )
    # Sums over rows of F, of values and of squares; float64, since their difference is small.
    count = torch.zeros((), dtype=torch.float64, device=world.device)
    sums = torch.zeros(2, model.feature_dim, dtype=torch.float64, device=world.device)
    was_training = model.training  # type: ignore[attr-defined]
    model.eval()  # type: ignore[attr-defined]
    cast(TrainingSampler, loader.batch_sampler).set_position(0, 0)
    for batch in loader:
        if batch.num_clips == 0:
            continue
        batch = batch.to(world.device)
        features = batch.inputs(mean, std)
        if not isinstance(batch, FeatureBatch):
            with precision.autocast():
                features = model.encode_frames(features)
        rows = features if batch.mask is None else features[batch.mask]
        rows = rows.reshape(-1, model.feature_dim).double()
        count += len(rows)
        sums += torch.stack([rows.sum(dim=0), rows.square().sum(dim=0)])
    model.train(was_training)  # type: ignore[attr-defined]
    count, sums = world.all_reduce_sum(count), world.all_reduce_sum(sums)
    if count == 0:
        raise DataError("no training clip could be read, so that features cannot be standardised")
    center, squares = sums / count
    deviation = (squares - center.square()).clamp(min=0).sqrt()
    model.set_feature_statistics(center.float(), deviation.float(), int(count))
    logger.info("features are standardised by the statistics of %s training features", f"{int(count):,}")
