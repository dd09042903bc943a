"""Capabilities of models that encode frames first, and classify a video by the features of its frames.

B clips, T frames, H W pixels, M tokens of a frame, F width of a feature, K classes. Features are (B, T, F),
and (B, T, M, F) for models with several tokens per frame (:class:`HasTokens`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from slowfast.models.capabilities.video_model import VideoModel

if TYPE_CHECKING:  # see the package
    import torch
    from torch import Tensor

    from slowfast.models.clip_grid import ClipGrid


@runtime_checkable
class FrameByFrameModel(VideoModel, Protocol):
    """A model that encodes each frame on its own first. Long videos are encoded in chunks."""

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Maps normalised float frames (B, 3, T, H, W) to their features (B, T, F)."""
        ...

    def classify(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Maps features (B, T, F) to logits (B, K); ``positions`` and ``mask`` as in ``forward``."""
        ...


@runtime_checkable
class AttendsFrames(FrameByFrameModel, Protocol):
    """A frame-by-frame model whose classification token attends to the frames, or their tokens."""

    def frame_attention(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Returns the weights (L, B, N, T), or (L, B, N, T, M) per token, of L layers and N heads.

        Args:
            features, positions, mask: as in ``classify``.
        """
        ...


@runtime_checkable
class FeatureModel(FrameByFrameModel, Protocol):
    """A model that can be trained and tested on features that were extracted earlier.

    Attributes:
        feature_dim: F.
        learns_features: whether training changes the features of a frame; they cannot be extracted earlier
            then.
    """

    feature_dim: int

    @property
    def learns_features(self) -> bool: ...

    def feature_source(self) -> Mapping[str, Any]:
        """Returns all that decides the features of given frames, as plain values by name: the backbone, a
        hash of the weights, …"""
        ...


@runtime_checkable
class HasTokens(Protocol):
    """A frame-by-frame model whose features may be several tokens per frame.

    Attributes:
        num_tokens: M; 1: features are (B, T, F).
    """

    num_tokens: int


@runtime_checkable
class EncodesClips(Protocol):
    """A frame-by-frame model that may encode several frames together, clip by clip.

    ``encode_frames`` then returns features (B, S, F) or (B, S, M, F) of S time steps, and ``classify`` takes
    positions and mask (B, S) of the steps; ``forward`` takes those of the frames.

    Attributes:
        clip_grid: clips and time steps; None: each frame is encoded on its own.
    """

    clip_grid: ClipGrid | None


@runtime_checkable
class StandardizesFeatures(Protocol):
    """A frame-by-frame model that standardises features by statistics of the training features.

    The engine sets them once, before the first step of a training that starts without a checkpoint.
    """

    @property
    def needs_feature_statistics(self) -> bool:
        """Whether the model standardises features and its statistics are not set yet."""
        ...

    def set_feature_statistics(self, mean: Tensor, std: Tensor, num_features: int) -> None:
        """Sets the statistics, which belong to the weights.

        Args:
            mean, std: (F,) float32, over all real frames and their tokens.
            num_features: number of rows of F that they were computed from, 1 or more.
        """
        ...


@runtime_checkable
class DescribesStates(Protocol):
    """A frame-by-frame model that can measure its states, for a training whose loss does not move."""

    def describe_states(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Sequence[str]:
        """Returns measurements in words, such as how much its states differ between clips.

        Args:
            features: (B, T, F) or (B, T, M, F) of different clips.
            positions, mask: as in ``forward``.
        """
        ...


def feature_shape(num_tokens: int, feature_dim: int) -> tuple[int, ...]:
    """Returns the shape of the features of one frame: (F,) for one token, (M, F) for several.

    >>> feature_shape(1, 768), feature_shape(9, 768)
    ((768,), (9, 768))
    """
    return (feature_dim,) if num_tokens == 1 else (num_tokens, feature_dim)


def num_tokens_of(model: object) -> int:
    """Returns M, the number of tokens per frame; 1 for models that do not state it."""
    return model.num_tokens if isinstance(model, HasTokens) else 1


def clip_grid_of(model: object) -> ClipGrid | None:
    """Returns the clips and time steps of a model that encodes clips; None for all others."""
    return model.clip_grid if isinstance(model, EncodesClips) else None


def feature_shape_of(model: object) -> tuple[int, ...] | None:
    """Returns the shape (F,) or (M, F) of a frame's features; None for a model that takes frames only."""
    if not isinstance(model, FeatureModel):
        return None
    return feature_shape(num_tokens_of(model), model.feature_dim)


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
