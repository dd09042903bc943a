"""A backbone as the configuration describes it: built, tuned, identified, and prepared for fast inference.

B clips, T frames, H W pixels, M tokens per frame, F width of a token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from slowfast.errors import InputError
from slowfast.models.capabilities import EncodingSetup, feature_shape
from slowfast.models.clip_grid import ClipGrid
from slowfast.models.weights_hash import weights_hash
from vtn.arguments.backbone import BackboneConfig
from vtn.backbones.build import build_backbone
from vtn.backbones.clips.splitting import build_splitter
from vtn.backbones.frames.encoding_network import EncodingNetwork, LoadNote, kind_of
from vtn.backbones.frames.token_reader import TokenReader, token_grid
from vtn.backbones.maps.token_grid import TokenGrid
from vtn.backbones.tuning.freezing import apply_tuning, autocast_modules, batch_norms, lora_of
from vtn.backbones.tuning.lora import LoRA
from vtn.backbones.tuning.recomputation import recompute_blocks


class TunedBackbone(nn.Module):
    """A module that builds and tunes a backbone, and keeps copies of it for fast inference.

    Args:
        config: settings of the backbone.

    Attributes:
        backbone: the network (N, 3, H, W) -> (N, F), or with a feature map.
        feature_dim: F.
        num_tokens: M.
        chunk_frames: frames that pass the backbone at once; 0: all of a batch in training, otherwise as many
            as are fastest.
        clip_grid: clips and time steps of a clip encoder, whose features are (B, S, F) or (B, S, M, F) for S
            time steps; None: single frames are encoded.
        act_checkpoint: whether the backward pass recomputes the backbone's activations.
        inference_dtype: dtype of matrix products after :meth:`prepare_inference`, None: the parameters' own.
        frame_mean, frame_std, frame_size, frame_interpolation, has_published_weights: see
            ``slowfast.models.capabilities``.

    Raises:
        ModelError: for a backbone that is unknown or does not accept its arguments.
        CheckpointError: for weights of the backbone that are damaged or do not fit.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        lora_of(config)  # its errors come before the weights of the backbone are downloaded
        options = _constructor_options(config)
        built = build_backbone(
            config.name,
            pretrained=config.pretrained,
            options=options,
            pooling=config.pooling,
            checkpoint=config.checkpoint,
        )
        self.backbone = built.network
        self._fully_frozen = config.frozen
        self._modules_in_evaluation = apply_tuning(self.backbone, config)
        self._tokens = TokenReader(built, token_grid(config))
        self.num_tokens = self._tokens.grid.num_tokens
        self.feature_dim = self._tokens.prepare()
        self._frozen_dtype = getattr(torch, config.frozen_dtype) if config.frozen_dtype else None
        if self._frozen_dtype is not None and self.learns_features:
            autocast_modules(self.backbone, self._modules_in_evaluation, self._frozen_dtype)
        self._splitter = build_splitter(built, config)
        self.clip_grid = None if self._splitter is None else self._splitter.grid
        self._backbone_identity = _describe_backbone(config, options, self.clip_grid, built.reading)
        self.frame_size = built.image_size
        self.frame_interpolation = built.interpolation
        self.frame_mean = built.mean
        self.frame_std = built.std
        self.has_published_weights = config.pretrained and not config.checkpoint
        self.chunk_frames = config.chunk_frames
        self.act_checkpoint = config.act_checkpoint
        self._recomputes_blocks = config.act_checkpoint and config.act_checkpoint_every > 0
        if self._recomputes_blocks:
            recompute_blocks(self.backbone, config.act_checkpoint_every)
        self.inference_dtype: torch.dtype | None = None
        self._encoding: EncodingNetwork | None = None
        self._frozen_encoding: EncodingNetwork | None = None
        self._kind = kind_of(self.backbone)
        self.register_load_state_dict_pre_hook(_reset_inference)
        self._loads = LoadNote()
        self.backbone.register_load_state_dict_pre_hook(self._loads)

    def train(self, mode: bool = True) -> Self:
        """Sets training or evaluation mode; frozen modules of the backbone stay in evaluation mode."""
        super().train(mode)
        for name in self._modules_in_evaluation:
            self.backbone.get_submodule(name).eval()
        if mode:
            self.inference_dtype = None
            self._encoding = None
        return self

    def prepare_inference(self, dtype: torch.dtype | None = None) -> Self:
        """Sets evaluation mode with matrix products in ``dtype`` and returns the model.

        ``None`` keeps the dtype of the parameters. ``train()`` and loading weights undo it.

        Raises:
            InputError: for what is not a float dtype of torch.
        """
        if not (dtype is None or (isinstance(dtype, torch.dtype) and dtype.is_floating_point)):
            raise InputError(f"dtype = {dtype!r}: must be None or a float dtype, such as torch.bfloat16")
        self.eval()
        self.inference_dtype = None if dtype == self._backbone_dtype() else dtype
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Moves or casts the model; prepared copies of the backbone are dropped."""
        self._encoding = self._frozen_encoding = None
        return super()._apply(fn, recurse)

    def prepare_encoding(self, setup: EncodingSetup | None, sample: Tensor | None = None) -> None:
        """Sets how features are computed without gradients, by a prepared copy of the backbone.

        ``train()``, loading weights into the model or its backbone, and moving the model undo it. Weights
        that are changed in place afterwards do not take effect.

        Args:
            setup: None: no copy, as in training.
            sample: normalised float frames (1, 3, T, H, W) of the size that is encoded; T is at least the
                length of a clip.
        """
        self._drop_stale_copies()
        self._encoding = None
        if setup is not None and sample is not None:
            self.eval()
            images = self._images_of(sample)
            self._encoding = EncodingNetwork(self.backbone, self._tokens, setup, images)

    def prepare_frozen_encoding(self, dtype: torch.dtype | None, sample: Tensor) -> EncodingSetup | None:
        """Lets a prepared copy compute the features of a frozen backbone in training, where it is faster.

        See ``slowfast.models.capabilities.PreparesFrozenEncoding``. Weights that are changed in place
        afterwards do not take effect.

        Args:
            dtype: of matrix products, unless the backbone has a dtype of its own; None: float32.
            sample: as in :meth:`prepare_encoding`.
        """
        self._drop_stale_copies()
        self._frozen_encoding = None
        dtype = self._frozen_dtype or dtype
        has_norms = bool(batch_norms(self.backbone))
        if self.learns_features or not (has_norms or dtype is not None):
            return None
        precision = "float32" if dtype is None else str(dtype).removeprefix("torch.")
        setup = EncodingSetup(precision=precision, fold=has_norms)
        prepared = EncodingNetwork(self.backbone, self._tokens, setup, self._images_of(sample))
        if prepared.num_folded == 0 and dtype is None:
            return None
        self._frozen_encoding = prepared
        return replace(setup, fold=prepared.num_folded > 0)

    def _drop_stale_copies(self) -> None:
        """Drops prepared copies if weights were loaded into the backbone alone since the last call."""
        if self._loads.take():
            self._encoding = self._frozen_encoding = None

    def __getstate__(self) -> dict[str, Any]:
        """Returns the state of a copied or pickled model, which has no prepared copy for training."""
        return {**super().__getstate__(), "_frozen_encoding": None}

    @property
    def token_grid(self) -> TokenGrid:
        """The choice of the tokens of a frame."""
        return self._tokens.grid

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of the features of a frame: (F,), or (M, F) for several tokens."""
        return feature_shape(self.num_tokens, self.feature_dim)

    @property
    def learns_features(self) -> bool:
        """Whether training changes the features of a frame."""
        return not self._fully_frozen or any(weight.requires_grad for weight in self.backbone.parameters())

    def feature_source(self) -> Mapping[str, Any]:
        """Returns all that determines the features of given frames except dtypes: the backbone, its options,
        LoRA's scale, a hash of the weights."""
        return {**self._backbone_identity, "weights": weights_hash(self.backbone)}

    def feature_dtypes(self) -> Mapping[str, str]:
        """Returns the dtypes in which features are now computed, which change them slightly."""
        self._drop_stale_copies()
        dtypes = {"frozen dtype": str(self._frozen_dtype), "inference dtype": str(self.inference_dtype)}
        if self._encoding is not None and self._encoding.setup.precision != "float32":
            # Compilation changes features by rounding only.
            dtypes["encoding"] = replace(self._encoding.setup, compile=False).describe()
        return dtypes

    def _images_of(self, sample: Tensor) -> Tensor:
        """Returns the images, or the first clip of a clip encoder, of frames (1, 3, T, H, W)."""
        grid = self.clip_grid
        images = sample.transpose(1, 2)[0] if grid is None else sample[:, :, : grid.frames]
        return images.to(self._backbone_dtype())

    def _backbone_dtype(self) -> torch.dtype:
        return next((p.dtype for p in self.backbone.parameters() if p.is_floating_point()), torch.float32)


def _reset_inference(model: nn.Module, *_: object) -> None:
    model.inference_dtype = None  # type: ignore[assignment]
    model._encoding = model._frozen_encoding = None  # type: ignore[assignment]


def _constructor_options(config: BackboneConfig) -> dict[str, Any]:
    """Returns the keyword arguments of the backbone's constructor; rates of 0 are left out."""
    rates = {"drop_rate": config.drop_rate, "drop_path_rate": config.drop_path_rate}
    return {**{name: rate for name, rate in rates.items() if rate}, **config.args}


def _describe_backbone(
    config: BackboneConfig, options: Mapping[str, Any], clip_grid: ClipGrid | None, reading: int
) -> dict[str, str]:
    """Returns what determines the backbone's features besides its weights, as written to feature files.

    Args:
        options: keyword arguments of the backbone's constructor.
        clip_grid: clips and time steps of a clip encoder.
        reading: see :class:`vtn.backbones.base.Backbone`; not written where it is 1, as in earlier files.
    """
    name = config.name if isinstance(config.name, str) else type(config.name).__qualname__
    described = {**options, **({"pooling": config.pooling} if config.pooling else {})}
    identity = {"backbone": name, "backbone options": str(described or "none")}
    grid = token_grid(config)
    if not grid.is_pooled:
        identity["tokens"] = grid.describe()
    if clip_grid is not None:
        identity["clips"] = clip_grid.describe()
    if reading > 1:
        identity["reading of images"] = f"version {reading}"
    if config.lora is not None:
        lora = LoRA(**config.lora)
        identity["lora"] = f"rank {lora.rank}, alpha {lora.alpha:g}"
    return identity
