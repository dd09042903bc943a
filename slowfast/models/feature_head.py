"""The part of a model that classifies features, for data sets of features instead of frames.

B clips, T frames, H W pixels, M tokens of a frame, F width of a feature, K classes.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from slowfast.datasets.clip import Normalization
from slowfast.datasets.video_dataset import FeatureOrigin
from slowfast.errors import ConfigError
from slowfast.features.build import describe_mismatch
from slowfast.features.cache import describe_differences
from slowfast.models.capabilities import FeatureModel, feature_shape_of


class FeatureHead(nn.Module):
    """A module that is called like the model, but with features in place of frames.

    Args:
        model: a :class:`slowfast.models.capabilities.FeatureModel`.
        origin: the source of the features.
        normalization: that the frames of the features must have had.
    """

    def __init__(self, model: Any, origin: FeatureOrigin, normalization: Normalization) -> None:
        super().__init__()
        self.model = model
        self._origin = origin
        self._normalization = normalization
        self._is_checked = False

    def forward(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Maps features (B, T, F) or (B, T, M, F) to logits (B, K).

        Raises:
            ConfigError: at the first batch, where other weights or another normalisation made the features.
        """
        # At the first batch, since the weights of a checkpoint are loaded after the run is built.
        if not self._is_checked:
            check_origin(self._origin, self.model, self._normalization)
            self._is_checked = True
        return self.model.classify(features, positions, mask)


def check_origin(origin: FeatureOrigin, model: FeatureModel, normalization: Normalization) -> None:
    """Checks that the features of a cache are those of a model; files of other programs are not checked.

    Args:
        normalization: that the frames of the features must have had.

    Raises:
        ConfigError: where other weights or another normalisation made the features.
    """
    manifest = origin.manifest
    if manifest is None:
        return
    cached = {**manifest.source, "mean": manifest.mean, "std": manifest.std}
    needed = {**model.feature_source(), **normalization._asdict()}
    if different := describe_differences(cached, needed):
        raise ConfigError(describe_mismatch(origin.folder, different))


def measured_network(model: Any, dataset: Any, frames: int, size: int) -> tuple[nn.Module, tuple[int, ...]]:
    """Returns the module whose multiply-adds are measured before weights are loaded, and its input's shape.

    The shape is (3, T, H, W) for frames, (T, F) or (T, M, F) for features.

    Args:
        dataset: a :class:`slowfast.datasets.video_dataset.VideoDataset`.
        frames: T.
        size: H and W in pixels.
    """
    shape = feature_shape_of(model)
    if dataset.features is None or shape is None:
        return model, (3, frames, size, size)
    origin = FeatureOrigin(dataset.features.folder)
    return FeatureHead(model, origin, Normalization((), ())), (frames, *shape)


def network_for(
    model: Any, dataset: Any, normalization: Normalization, *, training: bool = False
) -> nn.Module:
    """Returns the module that maps batches of a data set to logits: the model or a :class:`FeatureHead`.

    Args:
        dataset: a :class:`slowfast.datasets.video_dataset.VideoDataset`.
        normalization: of frames.
        training: whether the model is trained on the data set.

    Raises:
        ConfigError: for a data set of features that the model cannot classify, or cannot be trained on.
    """
    origin: FeatureOrigin | None = dataset.features
    if origin is None:
        return model
    if not isinstance(model, FeatureModel):
        raise ConfigError(
            f"MODEL.MODEL_NAME: must be a model that can classify features, and {type(model).__name__} "
            "cannot; choose one with encode_frames and classify, or a data set of frames (DATA.FEATURES, "
            "TRAIN.DATASET, TEST.DATASET)"
        )
    if training and origin.manifest is not None and model.learns_features:
        raise ConfigError(
            f"DATA.FEATURES = {origin.folder!r}: must be '' for a model that trains its frame encoder, since "
            "cached features do not change; freeze all of the encoder, without LoRA, or set the key to ''"
        )
    return FeatureHead(model, origin, normalization)
