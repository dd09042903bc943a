"""The encoding of sequences of any length by a clip encoder, which sees one clip at a time.

B sequences, T frames, S time steps, N clips, t frames of a clip, u frames of a time step, s steps of a clip,
H W pixels. A feature is (F,), or (M, F) for several tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from slowfast.errors import ModelError
from slowfast.models.clip_grid import ClipGrid, ClipSpan
from vtn.arguments.backbone import BackboneConfig
from vtn.backbones.base import Backbone

EncodeClips = Callable[[Tensor], Tensor]
"""Maps clips (N, 3, t, H, W) to features (N, s, F) or (N, s, M, F)."""


@dataclass(frozen=True)
class ClipSplitter:
    """The division of sequences into clips, and of their features into time steps.

    Attributes:
        grid: clips and time steps.
        accepts_shorter: whether the encoder takes clips of fewer than t frames. Otherwise their last frame is
            repeated, and the steps beyond it are dropped.
    """

    grid: ClipGrid
    accepts_shorter: bool

    def encode(
        self,
        encode: EncodeClips,
        frames: Tensor,
        mask: Tensor | None,
        feature_shape: tuple[int, ...],
        chunk_frames: int = 0,
    ) -> Tensor:
        """Maps frames (B, 3, T, H, W) to features (B, S, …); no clip contains frames of two sequences.

        Args:
            mask: (B, T) bool, True where a frame is real; None: all. A sequence ends with its last real
                frame; for others that are missing, the real frame before them is seen.
            feature_shape: (F,) or (M, F).
            chunk_frames: frames that are encoded at once, at least one clip; 0: all.

        Returns:
            The features; zeros for steps without a real frame.
        """
        lengths, frames = _real_frames(frames, mask)
        spans = [list(self.grid.spans(length)) if length else [] for length in lengths]
        num_steps = self.grid.num_steps(frames.shape[2])
        if not len(frames):
            return frames.new_zeros(0, num_steps, *feature_shape)
        pieces = self._encode_clips(encode, frames, spans, chunk_frames)
        like = next(iter(pieces.values()), frames)
        features = []
        for row, length in enumerate(lengths):
            own = [pieces[row, span.start] for span in spans[row]]
            missing = num_steps - self.grid.num_steps(length)
            own += [like.new_zeros(missing, *feature_shape)] if missing else []
            features.append(torch.cat(own))
        result = torch.stack(features)
        real = self.grid.step_mask(mask)
        if real is None:
            return result
        return torch.where(real.reshape(*real.shape, *(1 for _ in feature_shape)), result, 0)

    def _encode_clips(
        self, encode: EncodeClips, frames: Tensor, spans: Sequence[Sequence[ClipSpan]], chunk_frames: int
    ) -> dict[tuple[int, int], Tensor]:
        """Returns (sequence, first frame of a clip) -> the features of the steps taken from the clip.

        Args:
            spans: the clips of each sequence.
        """
        # Clips of the same length are encoded together, whatever sequence they are from.
        groups: dict[int, list[tuple[int, ClipSpan]]] = defaultdict(list)
        for row, own in enumerate(spans):
            for span in own:
                groups[span.stop - span.start].append((row, span))
        pieces: dict[tuple[int, int], Tensor] = {}
        for group in groups.values():
            size = max(1, chunk_frames // self.grid.frames) if chunk_frames else len(group)
            for first in range(0, len(group), size):
                part = group[first : first + size]
                clips = torch.stack([frames[row, :, span.start : span.stop] for row, span in part])
                for (row, span), steps in zip(part, encode(self._filled(clips)), strict=True):
                    pieces[row, span.start] = steps[span.keep_from : span.keep_to]
        return pieces

    def _filled(self, clips: Tensor) -> Tensor:
        """Returns clips (N, 3, t', H, W), the last frame repeated up to a length that the encoder takes."""
        frames = clips.shape[2]
        multiple = self.grid.tubelet if self.accepts_shorter else self.grid.frames
        missing = -frames % multiple
        return torch.cat([clips, clips[:, :, -1:].expand(-1, -1, missing, -1, -1)], 2) if missing else clips


def build_splitter(backbone: Backbone, config: BackboneConfig) -> ClipSplitter | None:
    """Returns the splitter for a clip encoder; None for a backbone of single images.

    Raises:
        ModelError: for a length or stride of clips that the backbone does not take, and for settings of clips
            or of a class token where the backbone has none.
    """
    clip = backbone.clip
    if clip is None:
        for key, value in (("clip_frames", config.clip_frames), ("clip_stride", config.clip_stride)):
            if value:
                raise ModelError(
                    f"VTN.BACKBONE.{key.upper()} = {value}: must be 0 for this backbone, which encodes "
                    "single frames"
                )
        return None
    frames = config.clip_frames or clip.frames
    if frames > clip.frames or (frames < clip.frames and not clip.accepts_shorter):
        fewer = " or fewer" if clip.accepts_shorter else ""
        raise ModelError(
            f"VTN.BACKBONE.CLIP_FRAMES = {frames}: must be {clip.frames}{fewer} for this backbone; 0 is "
            f"{clip.frames}"
        )
    try:
        grid = ClipGrid(frames, clip.tubelet, config.clip_stride or frames, clip.fps)
    except ModelError as error:
        raise ModelError(f"VTN.BACKBONE.CLIP_FRAMES, CLIP_STRIDE: {error}") from error
    return ClipSplitter(grid, clip.accepts_shorter)


def _real_frames(frames: Tensor, mask: Tensor | None) -> tuple[list[int], Tensor]:
    """Returns the length of each sequence, and frames in which an earlier real frame stands for missing ones.

    Missing frames before the first real one are replaced by that one.
    """
    T = frames.shape[2]
    if mask is None:
        return [T] * len(frames), frames
    index = torch.arange(T, device=mask.device)
    lengths = torch.where(mask, index + 1, 0).amax(1)
    gaps = ~mask & (index < lengths[:, None])
    if gaps.any():
        source = torch.where(mask, index, -1).cummax(1).values
        source = torch.where(source < 0, mask.int().argmax(1, keepdim=True), source)
        frames = torch.stack([row[:, order] for row, order in zip(frames, source, strict=True)])
    return lengths.tolist(), frames
