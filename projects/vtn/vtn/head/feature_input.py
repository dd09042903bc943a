"""Preparation of backbone features for the temporal encoder: standardisation, differences, dropout.

With few videos the encoder cannot learn these itself: features of most backbones have channels of very
different scale, and motion is a small part of their variance.

B clips, T frames, M tokens of a frame, F width of a feature. Features are (B, T, F) or (B, T, M, F).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast.errors import ModelError
from slowfast.features.temporal_statistics import append_differences, zero_masked
from vtn.arguments.groups import InputConfig

LIMIT = 5.0
"""Standardised features are clipped to −5 … 5, so that rare outliers of a channel have a bounded effect."""


class Standardization(nn.Module):
    """(x − mean) / std per channel, clipped to ±``LIMIT``, with the statistics of the training features.

    They are buffers, so that checkpoints contain them. Before :meth:`set_statistics` they are 0 and 1.

    Args:
        feature_dim: F.

    Attributes:
        mean, std: (F,) float32.
        num_features: 0-dimensional int64, rows of F that the statistics were computed from; 0: not yet set.
    """

    mean: Tensor
    std: Tensor
    num_features: Tensor

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("std", torch.ones(feature_dim))
        self.register_buffer("num_features", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def set_statistics(self, mean: Tensor, std: Tensor, num_features: int) -> None:
        """Sets mean and std (F,); channels that do not vary get the deviation 1, so that they become 0."""
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 0, std, torch.ones_like(std)))
        self.num_features.fill_(num_features)

    def forward(self, features: Tensor) -> Tensor:
        """Maps features (…, F) to standardised features of the same shape."""
        # In place on its own result, since a batch of features is large.
        return features.sub(self.mean).div_(self.std).clamp_(-LIMIT, LIMIT)


class FeatureInput(nn.Module):
    """Maps the features of a backbone to the input of the temporal encoder.

    Args:
        feature_dim: F.
        config: whether features are standardised, see :class:`Standardization`; whether |x(t) − x(t − 1)| is
            added as F further channels, 0 for the first frame; dropout of channels. Elements are not dropped
            one by one: their neighbours in time would tell their values, and random numbers for all of them
            take longer than the encoder.

    Attributes:
        width: width of the result, F or 2 · F.
        standardization: None where features are not standardised.
    """

    def __init__(self, feature_dim: int, config: InputConfig) -> None:
        super().__init__()
        self.width = 2 * feature_dim if config.differences else feature_dim
        self.standardization = Standardization(feature_dim) if config.standardize else None
        self._differences = config.differences
        self._dropout = config.dropout

    def prepare(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """Returns the standardised features, float32 or wider; 0 where ``mask`` (B, T) is False."""
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        if self.standardization is not None:
            features = self.standardization(features)
        return zero_masked(features, mask, in_place=self.standardization is not None)

    def forward(self, prepared: Tensor, mask: Tensor | None = None) -> Tensor:
        """Maps the result of :meth:`prepare` to the encoder's input (B, T, width) or (B, T, M, width)."""
        inputs = append_differences(prepared, mask) if self._differences else prepared
        if not self.training or self._dropout == 0:
            return inputs
        shape = (len(inputs), *(1 for _ in inputs.shape[1:-1]), inputs.shape[-1])
        return inputs * F.dropout(inputs.new_ones(shape), self._dropout)


def build_feature_input(feature_dim: int, config: InputConfig) -> FeatureInput | None:
    """Returns the module; None where features go to the encoder as they are."""
    return None if config == InputConfig() else FeatureInput(feature_dim, config)


class PreparesFeatures:
    """A model with a :class:`FeatureInput`; has ``slowfast.models.capabilities.StandardizesFeatures``.

    Attributes:
        feature_input: prepares features for the layers behind the backbone; None: they are used as they are.
    """

    feature_input: FeatureInput | None

    @property
    def needs_feature_statistics(self) -> bool:
        """Whether features are standardised by statistics that are not set yet."""
        standardization = self._standardization
        return standardization is not None and int(standardization.num_features) == 0

    def set_feature_statistics(self, mean: Tensor, std: Tensor, num_features: int) -> None:
        """Sets mean and deviation (F,) of training features, computed from ``num_features`` rows of F.

        Raises:
            ModelError: for a model that does not standardise features.
        """
        if self._standardization is None:
            raise ModelError(
                "input.standardize = False: must be True for a model with statistics of features"
            )
        self._standardization.set_statistics(mean, std, num_features)

    @property
    def _standardization(self) -> Standardization | None:
        return None if self.feature_input is None else self.feature_input.standardization
