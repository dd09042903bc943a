"""Mixup and CutMix: neighbouring clips of a training batch are mixed in pairs.

B clips, T frames, H W pixels, K classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from slowfast.datasets.clip import ClipBatch
from slowfast.datasets.views.augment import clips_per_video

# Keeps these random numbers apart from those of the samples.
_STREAM = 0x6D6978


@dataclass(frozen=True)
class Mix:
    """How a pair is mixed.

    Attributes:
        share: of a clip in itself; the rest of it is its partner's.
        box: top, left, bottom, right of the part that comes from the partner (CutMix); None: all pixels are
            weighted (Mixup).
    """

    share: float = 1.0
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class BatchMixer:
    """Mixes clips 0 and 1, 2 and 3, … of a batch; labels become distributions over the classes.

    A pair's mixture is a function of seed, epoch, step and the pair's number in the global batch. So it does
    not depend on the number of processes, as long as each has an even number of clips; a last odd clip is
    left as it is. So are pairs with frames masked in different places.

    Attributes:
        num_classes: K.
        mixup_alpha: of the Beta distribution of the shares (Zhang et al., 2018); 0: no Mixup.
        cutmix_alpha: the same for CutMix (Yun et al., 2019); 0: no CutMix.
        prob: share of the pairs that are mixed.
        switch_prob: share of CutMix among them, where both are in use.
        label_smoothing: part of a class index's weight that is spread over all classes.
        first_pair: number of this process's first pair in the global batch.
    """

    num_classes: int
    mixup_alpha: float
    cutmix_alpha: float
    prob: float
    switch_prob: float
    label_smoothing: float
    seed: int
    first_pair: int = 0

    def __call__(self, batch: ClipBatch, *, epoch: int, step: int) -> ClipBatch:
        """Returns the mixed batch on the device of ``batch``, frames uint8 (rounded), labels (B, K) float32.

        Args:
            batch: labels (B,) int64 or (B, K) float.
        """
        frames, labels = batch.frames.clone(), self._distributions(batch.label)
        mixed_labels = labels.clone()
        for number in range(frames.shape[0] // 2):
            pair = [2 * number, 2 * number + 1]
            if batch.mask is not None and not torch.equal(*batch.mask[pair]):
                continue
            mix = self.draw(epoch, step, self.first_pair + number, *frames.shape[-2:])
            frames[pair] = _mix_frames(batch.frames[pair], mix)
            mixed_labels[pair] = mix.share * labels[pair] + (1 - mix.share) * labels[pair[::-1]]
        return batch._replace(frames=frames, label=mixed_labels)

    def draw(self, epoch: int, step: int, pair: int, height: int, width: int) -> Mix:
        """How the pair of that number is mixed."""
        rng = np.random.default_rng((self.seed, _STREAM, epoch, step, pair))
        use, switch, down, right = rng.random(4).tolist()
        if use >= self.prob:
            return Mix()
        if self.cutmix_alpha == 0 or (self.mixup_alpha > 0 and switch >= self.switch_prob):
            return Mix(float(rng.beta(self.mixup_alpha, self.mixup_alpha)))
        cut = math.sqrt(1 - rng.beta(self.cutmix_alpha, self.cutmix_alpha))
        rows, columns = int(height * cut), int(width * cut)
        top, left = int(down * height) - rows // 2, int(right * width) - columns // 2
        box = (max(top, 0), max(left, 0), min(top + rows, height), min(left + columns, width))
        return Mix(1 - (box[2] - box[0]) * (box[3] - box[1]) / (height * width), box)

    def _distributions(self, labels: Tensor) -> Tensor:
        """(B,) int64 -> (B, K) float32, smoothed; (B, K) as they are."""
        if labels.ndim == 2:
            return labels.float()
        hot = F.one_hot(labels, self.num_classes).float()
        return hot * (1 - self.label_smoothing) + self.label_smoothing / self.num_classes


def build_mixer(cfg: Any, *, rank: int, batch_size: int) -> BatchMixer | None:
    """Builds what ``MIXUP`` asks for; None where it is off.

    Args:
        rank: of this process.
        batch_size: videos of a batch of each process.
    """
    if not cfg.MIXUP.ENABLE:
        return None
    return BatchMixer(
        num_classes=cfg.MODEL.NUM_CLASSES,
        mixup_alpha=cfg.MIXUP.ALPHA,
        cutmix_alpha=cfg.MIXUP.CUTMIX_ALPHA,
        prob=cfg.MIXUP.PROB,
        switch_prob=cfg.MIXUP.SWITCH_PROB,
        label_smoothing=cfg.MIXUP.LABEL_SMOOTH_VALUE,
        seed=cfg.RNG_SEED,
        first_pair=rank * (batch_size * clips_per_video(cfg) // 2),
    )


def _mix_frames(pair: Tensor, mix: Mix) -> Tensor:
    """Mixes two clips (2, 3, T, H, W) uint8 with each other."""
    partners = pair.flip(0)
    if mix.box is None:
        return torch.lerp(partners.float(), pair.float(), mix.share).round().to(pair.dtype)
    top, left, bottom, right = mix.box
    mixed = pair.clone()
    mixed[..., top:bottom, left:right] = partners[..., top:bottom, left:right]
    return mixed
