"""The frames of videos through a backbone: features of each frame, or of each time step of a clip encoder.

B clips, T frames, S time steps, H W pixels, M tokens per frame, F width of a token. Features are
(B, T, M, F), and (B, T, F) for M = 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from slowfast.errors import InputError
from slowfast.models.capabilities import EncodingSetup, ExemptsWeightDecay, HasShardUnits, feature_shape
from slowfast.models.inference.processor import images_per_pass
from slowfast.models.weights_hash import weights_hash
from vtn.arguments.backbone import BackboneConfig
from vtn.backbones.build import build_backbone
from vtn.backbones.clips.splitting import build_splitter
from vtn.backbones.frames.backbone_identity import constructor_options, describe_backbone
from vtn.backbones.frames.encoding_network import EncodingNetwork, LoadNote, kind_of
from vtn.backbones.frames.token_reader import TokenReader, token_grid
from vtn.backbones.maps.token_grid import TokenGrid
from vtn.backbones.tuning.apply import apply_tuning
from vtn.backbones.tuning.blocks import blocks_of
from vtn.backbones.tuning.freezing import autocast, autocast_modules, batch_norms
from vtn.backbones.tuning.recomputation import recompute, recompute_blocks
from vtn.encoder.input_checks import check_frames


class BackboneModel(nn.Module):
    """A model whose first part is a backbone, which it builds, tunes and runs on frames.

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
        options = constructor_options(config)
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
        self._backbone_identity = describe_backbone(config, options, self.clip_grid)
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
        """
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

    def encode_frames(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """Maps frames to their features by the backbone, in chunks of ``chunk_frames``.

        A clip encoder gives features of S time steps in place of T frames, see ``clip_grid``.

        Args:
            frames: (B, 3, T, H, W) of a float dtype, normalised with ``frame_mean`` and ``frame_std``.
            mask: (B, T) bool, True where a frame is real; only these pass the backbone. None: all are real.

        Returns:
            Features (B, T, F), or (B, T, M, F) for several tokens; zeros where ``mask`` is False. For a clip
            encoder (B, S, F) or (B, S, M, F).

        Raises:
            InputError: for frames of another shape or dtype, and for a backbone that does not return features
                of that shape.

        >>> import torch
        >>> from vtn import VTN, BackboneConfig
        >>> backbone = BackboneConfig("shallow_conv", pretrained=False, args={"feature_dim": 24})
        >>> model = VTN(backbone, num_classes=5).eval()
        >>> model.encode_frames(torch.zeros(2, 3, 6, 64, 64)).shape  # 2 clips of 6 frames
        torch.Size([2, 6, 24])
        """
        check_frames(frames)
        self._drop_stale_copies()
        if problem := self.frame_size_problem(*frames.shape[-2:]):
            raise InputError(problem)
        if self._splitter is not None:
            return self._splitter.encode(
                self._encode_images, frames, mask, self.feature_shape, self._frames_per_pass(frames)
            )
        if torch.compiler.is_exporting():
            return self._encode(frames)  # whatever the number of frames, and whatever the mask
        limit = self._frames_per_pass(frames)
        # A GPU's mask is not asked whether it is full: the answer would be waited for.
        if mask is None or (mask.is_cpu and mask.all()):
            chunk = frames.shape[2] if limit == 0 else max(1, limit // max(1, len(frames)))
            return torch.cat([self._encode(part) for part in frames.split(chunk, dim=2)], dim=1)
        real = frames.transpose(1, 2)[mask]  # (N, 3, H, W)
        chunks = real.split(limit or len(real))
        features = torch.cat([self._encode(images.transpose(0, 1)[None])[0] for images in chunks])
        real_rows = mask.reshape(*mask.shape, *(1 for _ in self.feature_shape))
        return features.new_zeros(*mask.shape, *self.feature_shape).masked_scatter(real_rows, features)

    def image_features(self, images: Tensor) -> Tensor:
        """Maps normalised images (N, 3, H, W) to features (N, F) or (N, M, F), with gradients if enabled.

        Other than :meth:`encode_frames` it also computes gradients with respect to the images of a frozen
        backbone, and never uses a prepared copy of it.
        """
        return self._read(images.to(self._backbone_dtype()))

    def frame_size_problem(self, height: int, width: int) -> str:
        """Returns why the backbone does not accept frames of that size in pixels, with a remedy, or ""."""
        return self._tokens.backbone.size_problem(height, width) or self._tokens.map_problem(height, width)

    @property
    def frame_multiple(self) -> int | None:
        """Pixels of which both sides of a frame must be multiples; None where the backbone takes one size."""
        backbone = self._tokens.backbone
        return None if backbone.fixed_size else backbone.size_multiple

    def _frames_per_pass(self, frames: Tensor) -> int:
        """Returns how many of the frames (B, 3, T, H, W) pass the backbone at once; 0: all.

        Without gradients few are faster, whose activations stay in the caches of the processor. Clips are not
        divided.
        """
        if self.chunk_frames:
            return self.chunk_frames
        if frames.is_meta or (torch.is_grad_enabled() and self.learns_features):
            return 0
        dtype = self._frozen_dtype or self.inference_dtype
        if (prepared := self._encoding or self._frozen_encoding) is not None:
            dtype = prepared.dtype
        unit = 1 if self.clip_grid is None else self.clip_grid.frames
        pixels = unit * frames.shape[-2:].numel()
        return unit * images_per_pass(self._kind, pixels, frames.device, bits=32 if dtype is None else 16)

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

    def memory_remedies(self, *, training: bool) -> list[str]:
        """Returns keys that divide the work of the backbone; see
        ``slowfast.models.capabilities.HasMemoryRemedies``."""
        if training and self.learns_features:
            return [] if self.act_checkpoint else ["VTN.BACKBONE.ACT_CHECKPOINT True"]
        if self.chunk_frames:
            return [f"VTN.BACKBONE.CHUNK_FRAMES below {self.chunk_frames}"]
        return ["VTN.BACKBONE.CHUNK_FRAMES 32 or less"]

    def shard_units(self) -> list[nn.Module]:
        """Returns the backbone's own units, or the blocks in its lists; see
        ``slowfast.models.capabilities.HasShardUnits``."""
        if isinstance(self.backbone, HasShardUnits):
            return list(self.backbone.shard_units())
        return list(blocks_of(self.backbone))

    def no_weight_decay(self) -> set[str]:
        """Returns names of parameters without weight decay whatever their shape: the backbone's own list."""
        own = self.backbone.no_weight_decay() if isinstance(self.backbone, ExemptsWeightDecay) else ()
        return {f"backbone.{name}" for name in own}

    def _images_of(self, sample: Tensor) -> Tensor:
        """Returns the images, or the first clip of a clip encoder, of frames (1, 3, T, H, W)."""
        grid = self.clip_grid
        images = sample.transpose(1, 2)[0] if grid is None else sample[:, :, : grid.frames]
        return images.to(self._backbone_dtype())

    def _encode(self, frames: Tensor) -> Tensor:
        """Maps frames (B, 3, T, H, W) to features (B, T, F) or (B, T, M, F) in one pass."""
        images = frames.transpose(1, 2).flatten(0, 1)  # (B·T, 3, H, W)
        return self._encode_images(images).unflatten(0, (frames.shape[0], frames.shape[2]))

    def _encode_images(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, H, W) to features (N, F) or (N, M, F), clips to those of their time steps."""
        if self._encoding is not None and not torch.is_grad_enabled():
            return self._checked(self._encoding(images.to(self._backbone_dtype())), images)
        if images.is_meta or not torch.is_autocast_enabled(images.device.type):
            images = images.to(self._backbone_dtype())
        if self.inference_dtype is not None:
            with torch.autocast(images.device.type, self.inference_dtype):
                features = self._read(images)
        elif not self.learns_features:
            features = self._encode_frozen(images)
        elif self.act_checkpoint and not self._recomputes_blocks and torch.is_grad_enabled():
            features = recompute(self.backbone, self._read, images)
        else:
            features = self._read(images)
        return self._checked(features, images)

    def _encode_frozen(self, images: Tensor) -> Tensor:
        """Maps images to features by a frozen backbone, or by its prepared copy."""
        if self._frozen_encoding is not None and not torch.compiler.is_compiling():
            return self._frozen_encoding(images)
        with torch.no_grad(), self._autocast_if_frozen(images.device.type):
            return self._read(images)

    def _checked(self, features: Tensor, images: Tensor) -> Tensor:
        """Returns the features of images or clips.

        Raises:
            InputError: if the backbone does not return one row per frame or time step.
        """
        expected = (images.shape[0], *self.feature_shape)
        if self.clip_grid is not None:
            steps = images.shape[2] // self.clip_grid.tubelet
            expected = (images.shape[0], steps, *self.feature_shape)
        if features.shape != expected:
            raise InputError(
                f"the backbone returned shape {tuple(features.shape)} for {len(images)} frames or clips; it "
                f"must return {expected}, one row per frame or time step"
            )
        return features

    def _read(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, H, W) to features (N, F) or (N, M, F); clips (N, 3, t, H, W) accordingly."""
        return self._tokens(self.backbone, images)

    def _backbone_dtype(self) -> torch.dtype:
        return next((p.dtype for p in self.backbone.parameters() if p.is_floating_point()), torch.float32)

    def _autocast_if_frozen(self, device: str) -> AbstractContextManager[Any]:
        return nullcontext() if self._frozen_dtype is None else autocast(device, self._frozen_dtype)


def _reset_inference(model: nn.Module, *_: object) -> None:
    model.inference_dtype = None  # type: ignore[assignment]
    model._encoding = model._frozen_encoding = None  # type: ignore[assignment]
