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

from slowfast.datasets.clip import Batch, BrokenVideo, Normalization, collate_common
from slowfast.datasets.views.mixing import BatchMixer, mix_labels
from slowfast.distributed.device import CPU


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
    def collate(clips: Sequence[FeatureClip]) -> FeatureBatch:
        """Returns a batch of at least one clip; shorter clips are padded with zeros and masked.

        Clips of several dtypes get one that holds the values of all of them.
        """
        lengths = [len(clip.features) for clip in clips]
        frame = clips[0].features.shape[1:]
        dtype = functools.reduce(torch.promote_types, (clip.features.dtype for clip in clips))
        features = torch.zeros(len(clips), max(lengths), *frame, dtype=dtype, device="cpu")
        for i, clip in enumerate(clips):
            features[i, : len(clip.features)] = clip.features
        return FeatureBatch(features=features, **collate_common(clips, lengths))


@dataclass(frozen=True, eq=False)
class FeatureBatch(Batch):
    """A collated batch of features.

    Attributes:
        features: (B, T, F) or (B, T, M, F) of a float dtype; 0 where padded.
    """

    features: Tensor

    def inputs(self, normalization: Normalization) -> Tensor:
        """Returns the features float32; their frames were normalised before the extraction."""
        return self.features.float()


@dataclass(frozen=True)
class FeatureMixer:
    """A mixer of clips 0 and 1, 2 and 3, … of a batch of features; labels become distributions over classes.

    Each clip keeps its frames, positions and mask. Frame i of its n frames is mixed with that frame of its
    partner which is at the same fraction of the partner's frames, so that clips of any two lengths are mixed.
    Standardisation and differences over time come after the mixture, in the model.

    Attributes:
        mixer: draws the fractions, and makes distributions of labels; it has no CutMix.
    """

    mixer: BatchMixer

    def __call__(
        self, batch: FeatureBatch, *, epoch: int, step: int, device: torch.device = CPU
    ) -> FeatureBatch:
        """Returns the mixed batch on ``device``, features float32, labels (B, K) float32.

        Args:
            batch: in host memory, labels (B,) int64 or (B, K) float.
        """
        if batch.num_clips == 0:
            return batch.to(device)  # of broken videos alone; such a batch has no features
        features, label = self.mix(batch.features.float(), batch.mask, batch.label, epoch, step)
        return replace(batch, features=features, label=label).to(device)

    def mix(
        self, features: Tensor, mask: Tensor | None, label: Tensor, epoch: int, step: int
    ) -> tuple[Tensor, Tensor]:
        """Returns mixed features and labels (B, K) float32.

        Args:
            features, mask: see :func:`mix_features`.
            label: (B,) int64 or (B, K) float.
        """
        fractions = self.fractions(len(features) // 2, epoch, step)
        mixed = mix_features(features, mask, fractions)
        return mixed, mix_labels(self.mixer.distributions(label), fractions)

    def fractions(self, pairs: int, epoch: int, step: int) -> list[float]:
        """Returns for each pair the fraction of a clip that remains its own."""
        first = self.mixer.first_pair
        return [self.mixer.draw(epoch, step, first + pair, 1, 1).fraction for pair in range(pairs)]


def mix_features(features: Tensor, mask: Tensor | None, fractions: Sequence[float]) -> Tensor:
    """Returns the features of mixed pairs; a last odd clip and frames that are not real stay unchanged.

    Args:
        features: (B, T, F) or (B, T, M, F) of a float dtype.
        mask: (B, T) bool, True where a frame is real; None: all are real.
        fractions: of each pair, of a clip that remains its own.
    """
    mixed = features.clone()
    every = torch.arange(features.shape[1], device=features.device)
    for number, fraction in enumerate(fractions):
        if fraction == 1:
            continue
        for clip, partner in ((2 * number, 2 * number + 1), (2 * number + 1, 2 * number)):
            own, other = (every if mask is None else every[mask[i]] for i in (clip, partner))
            aligned = other[_aligned_rows(len(own), len(other)).to(other.device)]
            mixed[clip, own] = torch.lerp(features[partner, aligned], features[clip, own], fraction)
    return mixed


def _aligned_rows(length: int, other: int) -> Tensor:
    """Returns for each of ``length`` rows the row of ``other`` rows at the same fraction of the whole."""
    return ((torch.arange(length) + 0.5) * other / length).long().clamp(max=other - 1)
