"""The linear skip from the features' temporal statistics to the logits.

B clips, T frames, F width of a feature, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slowfast.features.temporal_statistics import LAGS, temporal_statistics, zero_masked


class StatisticsSkip(nn.Module):
    """A linear layer from the temporal statistics of features to logits, added to those of the head.

    The rest of the model then learns only what a linear classifier of these statistics does not. The layer
    starts at 0.

    Args:
        feature_dim: F.
        num_classes: K.
        takes_zeros: whether masked features are 0 already, so that they need not be set to 0.
    """

    def __init__(self, feature_dim: int, num_classes: int, *, takes_zeros: bool) -> None:
        super().__init__()
        self._takes_zeros = takes_zeros
        self.linear = nn.Linear((2 + len(LAGS)) * feature_dim, num_classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """Maps features (B, T, F) or (B, T, M, F) and their mask (B, T) to logits (B, K)."""
        if not self._takes_zeros:
            features = zero_masked(features, mask)
        # Squares of float16 overflow above 256 and vanish below 2e-4.
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        return self.linear(temporal_statistics(features, mask).to(self.linear.weight.dtype))
