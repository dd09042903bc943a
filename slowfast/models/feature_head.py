"""Models that are given features instead of frames.

B clips, T frames, F width of a feature, K classes.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from slowfast.errors import ConfigError
from slowfast.features.build import refusal
from slowfast.features.cache import FeatureOrigin, describe_differences
from slowfast.models.capabilities import FeatureModel


class FromFeatures(nn.Module):
    """The part of a model behind its features, as a module of its own that is called like the model.

    Args:
        model: a :class:`slowfast.models.build.FeatureModel`.
        origin: where the features are from.
        mean, std: the normalisation of frames that they should have been made with.
    """

    def __init__(
        self, model: Any, origin: FeatureOrigin, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.model = model
        self._origin = origin
        self._normalization = {"mean": tuple(mean), "std": tuple(std)}
        self._is_checked = origin.manifest is None

    def forward(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Maps features (B, T, F) to logits (B, K).

        Raises:
            ConfigError: at the first batch, where the features are those of other weights or pictures.
        """
        # Not earlier: the weights of a checkpoint are loaded after a run is put together.
        if not self._is_checked:
            self._check()
        return self.model.classify(features, positions, mask)

    def _check(self) -> None:
        manifest = self._origin.manifest
        assert manifest is not None
        cached = {**manifest.source, "mean": manifest.mean, "std": manifest.std}
        wanted = {**self.model.feature_source(), **self._normalization}
        if different := describe_differences(cached, wanted):
            raise ConfigError(refusal(self._origin.folder, different))
        self._is_checked = True


def measured_network(model: Any, dataset: Any, frames: int, size: int) -> tuple[nn.Module, tuple[int, ...]]:
    """What one step on a clip runs through, to be measured before weights are loaded, and the clip's shape.

    Args:
        frames: of a clip.
        size: of its pictures, pixels.
    """
    if dataset.features is None or not isinstance(model, FeatureModel):
        return model, (3, frames, size, size)
    origin = FeatureOrigin(dataset.features.folder)
    return FromFeatures(model, origin, (), ()), (frames, model.feature_dim)


def network_for(
    model: Any, dataset: Any, *, mean: tuple[float, ...], std: tuple[float, ...], training: bool = False
) -> nn.Module:
    """Returns what maps the batches of a data set to logits: the model, or its part behind the features.

    Args:
        dataset: a :class:`slowfast.datasets.video_dataset.VideoDataset`.
        mean, std: normalisation of frames, per channel.
        training: whether the model is trained with it.

    Raises:
        ConfigError: where the data set gives features and the model cannot take them.
    """
    origin: FeatureOrigin | None = dataset.features
    if origin is None:
        return model
    if not isinstance(model, FeatureModel):
        raise ConfigError(
            f"MODEL.MODEL_NAME: {type(model).__name__} takes no features; choose a model that looks "
            "frame by frame, or frames for data (DATA.FEATURES '', TRAIN.DATASET and TEST.DATASET)"
        )
    if training and origin.manifest is not None and model.learns_features:
        raise ConfigError(
            f"DATA.FEATURES = {origin.folder!r}: the model would train what its features come from, and "
            "the cached ones would stay as they are; freeze that part of the model, or set the key to ''"
        )
    return FromFeatures(model, origin, mean, std)
