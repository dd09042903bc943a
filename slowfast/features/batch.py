"""Clips and batches of features, used in place of clips and batches of frames.

B clips, T frames, M tokens of a frame, F width of a feature, K classes. Features are (T, F) and (B, T, F),
those with several tokens per frame (T, M, F) and (B, T, M, F).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from slowfast.datasets.clip import Batch, BrokenVideo, Normalization, StreamedClip, collate_common


@dataclass(frozen=True)
class FeatureClip:
    """One view of one video.

    Attributes:
        features: (T, F) or (T, M, F) of a float dtype.
        positions, label, video_id, view_id, broken: as in :class:`slowfast.datasets.clip.Clip`.
    """

    features: Tensor
    positions: Tensor
    label: int | Tensor
    video_id: int
    view_id: int = 0
    broken: tuple[BrokenVideo, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """(T,)."""
        return (len(self.features),)

    def reordered(self, order: Tensor) -> FeatureClip:
        """Returns the clip with row ``order[i]`` at index i; the positions stay."""
        return replace(self, features=self.features[order])

    @staticmethod
    def collate(
        clips: Sequence[FeatureClip],
        broken: Sequence[BrokenVideo] = (),
        streamed: Sequence[StreamedClip] = (),
        *,
        is_continued: bool = False,
    ) -> FeatureBatch:
        """Returns a batch of at least one clip; shorter clips are padded with zeros and masked.

        Clips of several dtypes get one that holds the values of all of them.
        """
        lengths = [len(clip.features) for clip in clips]
        frame = clips[0].features.shape[1:]
        dtype = functools.reduce(torch.promote_types, (clip.features.dtype for clip in clips))
        features = torch.zeros(len(clips), max(lengths), *frame, dtype=dtype)
        for i, clip in enumerate(clips):
            features[i, : len(clip.features)] = clip.features
        return FeatureBatch(
            features=features,
            **collate_common(clips, lengths),
            broken=tuple(broken),
            streamed=tuple(streamed),
            is_continued=is_continued,
        )


@dataclass(frozen=True, eq=False)
class FeatureBatch(Batch):
    """A collated batch of features.

    Attributes:
        features: (B, T, F) or (B, T, M, F) of a float dtype; 0 where padded.
    """

    features: Tensor
    positions: Tensor
    mask: Tensor | None
    label: Tensor
    video_id: Tensor
    view_id: Tensor
    broken: tuple[BrokenVideo, ...] = ()
    streamed: tuple[StreamedClip, ...] = ()
    is_continued: bool = False

    def inputs(self, normalization: Normalization) -> Tensor:
        """Returns the features float32; their frames were normalised before the extraction."""
        return self.features.float()
