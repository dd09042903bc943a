"""What the models of this project share: a backbone that turns each frame into a feature, and a head.

B clips, T frames, H W pixels, F width of a feature, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import vtn.backbones.precomputed  # noqa: F401 (registers its backbone)
from slowfast.errors import InputError, ModelError
from slowfast.models.build import weights_digest
from vtn.backbones.build import build_backbone
from vtn.backbones.tuning.depth import parameter_depths
from vtn.backbones.tuning.freezing import autocast, batch_norms, compute_in, freeze, let_norms_learn
from vtn.backbones.tuning.lora import LoRA, add_lora
from vtn.config import FROZEN_DTYPES, backbone_name, lora_options
from vtn.encoder.input_checks import check_frames


class FrameModel(nn.Module):
    """A video model that looks at each frame with a 2D backbone; subclasses say what becomes of the features.

    Args:
        backbone: a name (see :func:`vtn.backbones.build.build_backbone`) or a network (N, 3, H, W) -> (N, F).
        num_classes: K.
        pretrained: start from the weights in ``backbone_checkpoint``, or else from the published ones, which
            are downloaded.
        backbone_checkpoint: a file of the backbone's weights; empty: the published ones.
        pooling: ``cls``, ``mean`` or ``map``; empty: the backbone's own.
        frozen: keep the backbone in evaluation mode and give it no gradients.
        frozen_blocks: do so with its stem and that many blocks.
        learning_norms: let the normalisation layers of what is frozen learn their scales and offsets.
        frozen_dtype: ``bfloat16`` or ``float16``, in which frozen parts compute; empty: as the rest.
        lora: arguments of :class:`vtn.backbones.tuning.lora.LoRA`, which then is all that learns of the backbone.
        chunk_frames: frames that go through the backbone at once; 0: all of a batch.
        act_checkpoint: recompute the backbone's activations in the backward pass.
        drop_rate, drop_path_rate: dropout and stochastic depth of the backbone.
        backbone_args: further keyword arguments of the backbone's constructor.

    Attributes:
        feature_dim: F.
        frame_mean, frame_std, frame_size, frame_interpolation, position_rate: see
            ``slowfast.models.build.VideoModel``.
    """

    num_layers = 0
    """Layers between the backbone and the head."""

    def __init__(
        self,
        backbone: str | nn.Module,
        num_classes: int,
        *,
        pretrained: bool,
        backbone_checkpoint: str = "",
        pooling: str = "",
        frozen: bool,
        frozen_blocks: int = 0,
        learning_norms: bool = False,
        frozen_dtype: str = "",
        lora: Mapping[str, Any] | None = None,
        chunk_frames: int,
        act_checkpoint: bool,
        drop_rate: float,
        drop_path_rate: float,
        backbone_args: Mapping[str, Any] | None,
    ) -> None:
        super().__init__()
        rates = {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
        options = {**{name: rate for name, rate in rates.items() if rate}, **(backbone_args or {})}
        built = build_backbone(
            backbone, pretrained=pretrained, options=options, pooling=pooling, checkpoint=backbone_checkpoint
        )
        self.backbone = built.network
        self._described = built
        self._in_evaluation = self._freeze(frozen, frozen_blocks, learning_norms, lora)
        self._frozen_dtype = _dtype(frozen_dtype)
        if self._frozen_dtype is not None and self.learns_features:
            compute_in(self.backbone, self._in_evaluation, self._frozen_dtype)
        self.feature_dim = built.feature_dim
        self.frame_size = built.image_size
        self.frame_interpolation = built.interpolation
        said = {**options, **({"pooling": pooling} if pooling else {})}
        self._backbone_is = {
            "backbone": _name_of(backbone),
            "backbone options": str(said or "none"),
            **_lora_is(lora),
        }
        self.frame_mean = built.mean
        self.frame_std = built.std
        self.position_rate: float | None = None
        self.num_classes = num_classes
        self.chunk_frames = chunk_frames
        self.act_checkpoint = act_checkpoint
        self.inference_dtype: torch.dtype | None = None
        self.register_load_state_dict_pre_hook(_forget_inference_dtype)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for name in self._in_evaluation:
            self.backbone.get_submodule(name).eval()
        if mode:
            self.inference_dtype = None
        return self

    def prepare_inference(self, dtype: torch.dtype | None = None) -> Self:
        """Puts the model into evaluation mode with matrix products in ``dtype``, and returns it.

        ``None`` keeps the parameters' own type. ``train()`` and loading weights undo it.
        """
        self.eval()
        self.inference_dtype = None if dtype == self._backbone_dtype() else dtype
        return self

    def encode_frames(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """Maps normalised float frames (B, 3, T, H, W) to their features (B, T, F), in chunks when asked to.

        With a ``mask`` (B, T) bool only frames where it is True are looked at; the others' features are 0.

        Raises:
            InputError: for frames of another shape or type, and for a backbone that does not return (N, F).
        """
        check_frames(frames)
        if problem := self.frame_size_problem(*frames.shape[-2:]):
            raise InputError(problem)
        if mask is None or mask.all():
            chunk = (
                frames.shape[2]
                if self.chunk_frames == 0
                else max(1, self.chunk_frames // max(1, len(frames)))
            )
            return torch.cat([self._encode(part) for part in frames.split(chunk, dim=2)], dim=1)
        real = frames.transpose(1, 2)[mask]  # (N, 3, H, W)
        parts = real.split(self.chunk_frames or len(real))
        features = torch.cat([self._encode(part.transpose(0, 1)[None])[0] for part in parts])
        return features.new_zeros(*mask.shape, self.feature_dim).masked_scatter(mask[..., None], features)

    def classify(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Maps features (B, T, F) to logits (B, K); what a subclass is for."""
        raise NotImplementedError

    def frame_size_problem(self, height: int, width: int) -> str:
        """Why the backbone cannot take frames of that size, and what to do; empty where it can."""
        return self._described.size_problem(height, width)

    @property
    def learns_features(self) -> bool:
        """Whether training changes the features of a frame."""
        return not self._kept_whole or any(weight.requires_grad for weight in self.backbone.parameters())

    def feature_source(self) -> Mapping[str, Any]:
        """What decides the features of given frames but for number types: the backbone, its options, LoRA's
        scale, a digest of the weights."""
        return {**self._backbone_is, "weights": weights_digest(self.backbone)}

    def feature_numbers(self) -> Mapping[str, str]:
        """The number types that features are computed in now, which change them a little."""
        return {"frozen dtype": str(self._frozen_dtype), "inference dtype": str(self.inference_dtype)}

    def shard_units(self) -> list[nn.Module]:
        """See ``slowfast.models.build.VideoModel``; the backbone's own, or the blocks in its lists."""
        if hasattr(self.backbone, "shard_units"):
            return list(self.backbone.shard_units())
        return list(_blocks_of(self.backbone))

    def _encode(self, frames: Tensor) -> Tensor:
        """(B, 3, T, H, W) -> (B, T, F), all at once."""
        B, _, T = frames.shape[:3]
        images = frames.transpose(1, 2).flatten(0, 1)  # (B·T, 3, H, W)
        if images.is_meta or not torch.is_autocast_enabled(images.device.type):
            images = images.to(self._backbone_dtype())
        if self.inference_dtype is not None:
            with torch.autocast(images.device.type, self.inference_dtype):
                features = self.backbone(images)
        elif not self.learns_features:
            with torch.no_grad(), self._in_frozen_dtype(images.device.type):
                features = self.backbone(images)
        elif self.act_checkpoint and torch.is_grad_enabled():
            features = checkpoint(self.backbone, images, use_reentrant=False)
        else:
            features = self.backbone(images)
        if features.shape != (B * T, self.feature_dim):
            raise InputError(
                f"the backbone returned {tuple(features.shape)} for {B * T} frames; it must return "
                f"one row of width {self.feature_dim} a frame"
            )
        return features.unflatten(0, (B, T))

    def _backbone_dtype(self) -> torch.dtype:
        return next((p.dtype for p in self.backbone.parameters() if p.is_floating_point()), torch.float32)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that take no weight decay whatever their shape: the backbone's own list."""
        own = getattr(self.backbone, "no_weight_decay", set)
        return {f"backbone.{name}" for name in own()}

    def layer_id(self, name: str) -> tuple[int, int]:
        """(depth of the parameter ``name`` from the input, number of depths).

        First come the backbone's own depths (as timm groups them; one where it does not say), then one for
        embeddings and projection, one for each encoder layer, and one for the head.
        """
        depth_of = self._backbone_depths
        backbone_depths = 1 + max(depth_of.values(), default=0)
        total = backbone_depths + 1 + self.num_layers + 1
        if name.startswith("backbone."):
            return depth_of.get(name.removeprefix("backbone."), 0), total
        if name.startswith("mlp_head."):
            return total - 1, total
        layer = re.match(r"temporal_encoder\.encoder\.layer\.(\d+)\.", name)
        return backbone_depths + (1 + int(layer[1]) if layer else 0), total

    @cached_property
    def _backbone_depths(self) -> Mapping[str, int]:
        """Depth of each of the backbone's parameters, by its name within the backbone."""
        return parameter_depths(self.backbone)

    def _freeze(
        self, frozen: bool, frozen_blocks: int, learning_norms: bool, lora: Mapping[str, Any] | None
    ) -> list[str]:
        """Fixes what of the backbone learns; returns names of its modules that stay in evaluation mode."""
        self._kept_whole = frozen
        if lora is None:
            return freeze(
                self.backbone, everything=frozen, blocks=frozen_blocks, learning_norms=learning_norms
            )
        if frozen or frozen_blocks:
            raise ModelError("lora freezes the backbone by itself; give neither frozen nor frozen_blocks")
        add_lora(self.backbone, LoRA(**lora))
        if learning_norms:
            let_norms_learn(self.backbone)
        return batch_norms(self.backbone)

    def _in_frozen_dtype(self, device: str) -> AbstractContextManager[Any]:
        return nullcontext() if self._frozen_dtype is None else autocast(device, self._frozen_dtype)


def _blocks_of(network: nn.Module) -> Iterator[nn.Module]:
    """The outermost composite modules with parameters that stand in a list or sequence of at least two."""
    for child in network.children():
        blocks = [block for block in child.children() if _is_block(block)]
        if isinstance(child, nn.ModuleList | nn.Sequential) and len(blocks) > 1:
            yield from blocks
        else:
            yield from _blocks_of(child)


def _is_block(module: nn.Module) -> bool:
    return next(module.children(), None) is not None and next(module.parameters(), None) is not None


def _name_of(backbone: str | nn.Module) -> str:
    return backbone if isinstance(backbone, str) else type(backbone).__qualname__


def _lora_is(lora: Mapping[str, Any] | None) -> dict[str, str]:
    """What of LoRA decides the features and does not stand in the weights; empty where there is none."""
    if lora is None:
        return {}
    adapted = LoRA(**lora)
    return {"lora": f"rank {adapted.rank}, alpha {adapted.alpha:g}"}


def _dtype(name: str) -> torch.dtype | None:
    if name not in ("", *FROZEN_DTYPES):
        raise ModelError(f"frozen_dtype = {name!r}: is not known; use {', '.join(FROZEN_DTYPES)} or ''")
    return getattr(torch, name) if name else None


def _forget_inference_dtype(model: nn.Module, *_: object) -> None:
    model.inference_dtype = None  # type: ignore[assignment]


def build_head(width: int, mlp_dim: int, num_classes: int, dropout: float) -> nn.Sequential:
    """The classifier on a state (B, D): LayerNorm, Linear, GELU, Dropout, Linear -> (B, K)."""
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, mlp_dim),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(mlp_dim, num_classes),
    )


def backbone_options(cfg: Any, fetch_weights: bool) -> dict[str, Any]:
    """The keyword arguments of :class:`FrameModel` from a configuration."""
    node = cfg.VTN.BACKBONE
    return {
        "backbone": backbone_name(cfg),
        "num_classes": cfg.MODEL.NUM_CLASSES,
        "pretrained": (node.PRETRAINED or bool(node.CHECKPOINT)) and fetch_weights,
        "backbone_checkpoint": node.CHECKPOINT,
        "pooling": node.POOLING,
        "frozen": node.FROZEN,
        "frozen_blocks": node.FROZEN_BLOCKS,
        "learning_norms": node.LEARNING_NORMS,
        "frozen_dtype": node.FROZEN_DTYPE,
        "lora": lora_options(cfg),
        "chunk_frames": node.CHUNK_FRAMES,
        "act_checkpoint": node.ACT_CHECKPOINT,
        "drop_rate": node.DROP_RATE,
        "drop_path_rate": node.DROP_PATH_RATE,
        "backbone_args": dict(node.ARGS),
    }
