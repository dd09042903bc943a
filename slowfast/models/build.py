"""The registry of models and the contract between a model and the framework."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from slowfast.registry import Registry, import_user_modules

MODEL_REGISTRY: Registry[Any] = Registry("model", "MODEL.MODEL_NAME")
"""Model classes. A class has ``from_config(cfg, *, fetch_weights) -> nn.Module`` and its
instances keep :class:`VideoModel`."""


class VideoModel(Protocol):
    """What the data layer and the engine may ask of a model, and nothing else.

    Attributes:
        frame_mean, frame_std: three floats each, the normalisation its weights want; the data layer uses
            them where ``DATA.NORMALIZATION`` is ``backbone``.
        position_rate: None where positions are frame indices of the source video; else positions are
            ``round(seconds × position_rate)``.

    It may also have ``frame_size``, the pixels of its frames' sides, ``frame_interpolation``, ``bilinear`` or
    ``bicubic``, both used where the configuration asks for them, and ``frame_size_problem(height, width)``,
    which says in words why it cannot take a size.
    """

    frame_mean: tuple[float, float, float]
    frame_std: tuple[float, float, float]
    position_rate: float | None
    num_classes: int
    __call__: ClassVar[Any]

    def forward(self, frames: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Maps normalised float frames (B, 3, T, H, W) to logits (B, K).

        ``positions`` (B, T) int64, None meaning 0 … T−1; ``mask`` (B, T) bool, True where real, None
        meaning all.
        """
        ...

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that take no weight decay whatever their shape."""
        ...

    def layer_id(self, name: str) -> tuple[int, int]:
        """(depth of the parameter ``name`` from the input, number of depths), for layer-wise rates."""
        ...

    def shard_units(self) -> list[nn.Module]:
        """Parts of the model that are called as modules, one after another, in training; a model that is
        spread over processes is gathered one unit at a time. Without this method all of it is gathered."""
        ...


class FrameByFrameModel(VideoModel, Protocol):
    """A model that looks at each frame by itself first. Long videos go through it in chunks."""

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Maps normalised float frames (B, 3, T, H, W) to their features (B, T, F)."""
        ...

    def classify(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Maps features (B, T, F) to logits (B, K); positions and mask as those of ``forward``."""
        ...


def looks_frame_by_frame(model: Any) -> bool:
    """Whether a model keeps :class:`FrameByFrameModel`."""
    return hasattr(model, "encode_frames") and hasattr(model, "classify")


class FeatureModel(FrameByFrameModel, Protocol):
    """A model that can be trained and tested from features that it made earlier, or that others made.

    Attributes:
        feature_dim: F.
        learns_features: whether training changes what makes the features; then they cannot be made earlier.
    """

    feature_dim: int

    @property
    def learns_features(self) -> bool: ...

    def feature_source(self) -> Mapping[str, Any]:
        """All that decides the features of given frames, as plain values by name: a backbone, a digest of
        its weights, …"""
        ...


def takes_features(model: Any) -> bool:
    """Whether a model keeps :class:`FeatureModel`."""
    return looks_frame_by_frame(model) and hasattr(model, "feature_source")


def weights_digest(module: nn.Module) -> str:
    """A digest of a module's class and of all its parameters and buffers, with names and number types."""
    digest = hashlib.sha256(type(module).__qualname__.encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def build_model(cfg: Any, *, fetch_weights: bool = True) -> nn.Module:
    """Builds the model that ``cfg.MODEL.MODEL_NAME`` names, on the CPU and unwrapped.

    Args:
        fetch_weights: False where a checkpoint is loaded next: published weights of parts of the model are
            then not downloaded, whatever ``cfg`` says.

    Raises:
        ConfigError: for an unknown name.
        ModelError: where the model cannot be built as configured.
    """
    import_user_modules(cfg.IMPORTS)
    return MODEL_REGISTRY.get(cfg.MODEL.MODEL_NAME).from_config(cfg, fetch_weights=fetch_weights)
