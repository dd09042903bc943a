"""Capabilities of models that can compute the features of frames in several ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:  # see the package
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class EncodingSetup:
    """The way in which a model computes features without gradients.

    Attributes:
        precision: ``float32``, ``bfloat16`` or ``float16``, of matrix products.
        fold: whether batch norms are folded into convolutions.
        compile: whether the network is compiled.
        exact_layers: fraction of the convolutions and linear layers, from the first on, that are computed in
            float32 whatever the precision.
    """

    precision: str = "float32"
    fold: bool = False
    compile: bool = False
    exact_layers: float = 0.0

    def describe(self) -> str:
        """Returns the setup in words, as written to files of features."""
        exact = f" after {self.exact_layers:.0%} of the layers in float32" if self.exact_layers else ""
        return f"{self.precision}{exact}{', compiled' if self.compile else ''}"


@runtime_checkable
class PreparesEncoding(Protocol):
    """A frame-by-frame model that can compute features without gradients in several ways."""

    def prepare_encoding(self, setup: EncodingSetup | None, sample: Tensor | None = None) -> None:
        """Sets how ``encode_frames`` computes without gradients, until training or new weights undo it.

        Args:
            setup: None: as in training.
            sample: normalised float frames (1, 3, T, H, W) of the size that is encoded.
        """
        ...


@runtime_checkable
class PreparesFrozenEncoding(Protocol):
    """A frame-by-frame model that can compute the features of a frozen part faster while it is trained."""

    def prepare_frozen_encoding(self, dtype: torch.dtype | None, sample: Tensor) -> EncodingSetup | None:
        """Sets how ``encode_frames`` computes in training, until new weights or another device undo it.

        Args:
            dtype: in which training computes matrix products; None: float32.
            sample: normalised float frames (1, 3, T, H, W) of the size that is encoded.

        Returns:
            The setup; None where the model stays as it is.
        """
        ...
