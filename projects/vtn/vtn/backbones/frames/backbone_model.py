"""The frames of videos through a backbone: features of each frame, or of each time step of a clip encoder.

B clips, T frames, S time steps, H W pixels, M tokens per frame, F width of a token. Features are
(B, T, M, F), and (B, T, F) for M = 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slowfast.errors import InputError
from slowfast.models.adapter import describe_returned
from slowfast.models.capabilities import ExemptsWeightDecay, HasShardUnits
from slowfast.models.inference.processor import images_per_pass
from slowfast.tracing import is_exporting
from vtn.backbones.frames.tuned_backbone import TunedBackbone
from vtn.backbones.tuning.blocks import blocks_of
from vtn.backbones.tuning.freezing import autocast
from vtn.backbones.tuning.recomputation import recompute
from vtn.encoder.input_checks import check_frames


class BackboneModel(TunedBackbone):
    """A model whose first part is a backbone, which it runs on frames.

    Arguments, attributes and errors of the constructor are those of
    :class:`vtn.backbones.frames.tuned_backbone.TunedBackbone`.
    """

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
            InputError: for frames or a mask of another shape or dtype, and for a backbone that does not
                return features of that shape.

        >>> import torch
        >>> from vtn import VTN, BackboneConfig
        >>> backbone = BackboneConfig("shallow_conv", pretrained=False, args={"feature_dim": 24})
        >>> model = VTN(backbone, num_classes=5).eval()
        >>> model.encode_frames(torch.zeros(2, 3, 6, 64, 64)).shape  # 2 clips of 6 frames
        torch.Size([2, 6, 24])
        """
        check_frames(frames, mask)
        self._drop_stale_copies()
        if problem := self.frame_size_problem(*frames.shape[-2:]):
            raise InputError(problem)
        if self._splitter is not None:
            return self._splitter.encode(
                self._encode_images, frames, mask, self.feature_shape, self._frames_per_pass(frames)
            )
        if is_exporting():
            return self._encode(frames)  # whatever the number of frames, and whatever the mask
        if not len(frames):  # some networks of timm cannot compute no images
            return frames.new_zeros(0, frames.shape[2], *self.feature_shape)
        limit = self._frames_per_pass(frames)
        # A GPU's mask is not asked whether it is full: the answer would be waited for.
        if mask is None or (mask.is_cpu and mask.all()):
            if not limit:  # not by split, whose sizes torch.compile would compile for each length
                return self._encode(frames)
            chunk = max(1, limit // len(frames))
            return torch.cat([self._encode(part) for part in frames.split(chunk, dim=2)], dim=1)
        real = frames.transpose(1, 2)[mask]  # (N, 3, H, W)
        # Not asked within torch.compile, which may know no number of real frames.
        if not torch.compiler.is_compiling() and not len(real):
            return frames.new_zeros(*mask.shape, *self.feature_shape)
        chunks = real.split(limit) if limit else [real]
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
        with torch.no_grad(), autocast(images.device.type, self._frozen_dtype):
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
        if not isinstance(features, Tensor) or features.shape != expected:
            raise InputError(
                f"the backbone returned {describe_returned(features)} for {len(images)} frames or clips; it "
                f"must return a tensor of shape {expected}, one row per frame or time step; "
                "VTN.BACKBONE.POOLING or TOKENS make features of a map"
            )
        return features

    def _read(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, H, W) to features (N, F) or (N, M, F); clips (N, 3, t, H, W) accordingly."""
        return self._tokens(self.backbone, images)
