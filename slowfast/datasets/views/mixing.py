"""Mixup and CutMix: neighbouring clips of a training batch, and their labels, are mixed in pairs.

timm's and torchvision's versions take images without masks, and draw from global random numbers, so that a
resumed run would mix other clips.

B clips, T frames, H W pixels, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import Tensor
from torch.nn import functional as F

from slowfast.config.derived import clips_per_video
from slowfast.datasets.clip import ClipBatch
from slowfast.distributed.device import CPU, upload
from slowfast.registry import registry_of

# Part of the seed, so that these random numbers are independent of those of the samples.
_STREAM = 0x6D6978


@dataclass(frozen=True)
class Mix:
    """The mixture of a pair of clips.

    Attributes:
        fraction: of a clip that remains its own; the rest comes from its partner.
        box: top, left, bottom, right of the region that comes from the partner (CutMix); None: all pixels are
            weighted (Mixup).
    """

    fraction: float = 1.0
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class BatchMixer:
    """A mixer of clips 0 and 1, 2 and 3, … of a batch; labels become distributions over the classes.

    The mixture of a pair is a function of seed, epoch, step and the pair's number in the global batch.
    Therefore it does not depend on the number of processes, as long as each has an even number of clips. A
    last odd clip and pairs with different masks stay unchanged.

    Attributes:
        num_classes: K.
        mixup_alpha: of the Beta distribution of the fractions (Zhang et al., 2018); 0: no Mixup.
        cutmix_alpha: the same for CutMix (Yun et al., 2019); 0: no CutMix.
        prob: fraction of the pairs that are mixed.
        switch_prob: fraction of CutMix among the mixed pairs, where both are in use.
        label_smoothing: fraction of each label that is divided equally among all classes, or for an
            ``independent`` loss among absence and presence.
        seed: of the run.
        first_pair: number of this process's first pair in the global batch.
        independent: see :class:`slowfast.models.losses.LossForms`.
    """

    num_classes: int
    mixup_alpha: float
    cutmix_alpha: float
    prob: float
    switch_prob: float
    label_smoothing: float
    seed: int
    first_pair: int = 0
    independent: bool = False

    def __call__(self, batch: ClipBatch, *, epoch: int, step: int, device: torch.device = CPU) -> ClipBatch:
        """Returns the mixed batch on ``device``, frames uint8 (rounded), labels (B, K) float32.

        Frames are mixed on the device, where copying all of them is fast. Labels are mixed and masks compared
        in host memory, so that nothing waits for the device.

        Args:
            batch: in host memory, labels (B,) int64 or (B, K) float.
        """
        on_device = batch.to(device)
        frames = on_device.frames.clone()
        fractions = []
        for number in range(frames.shape[0] // 2):
            pair = slice(2 * number, 2 * number + 2)
            mix = Mix()
            if batch.mask is None or torch.equal(*batch.mask[pair]):
                mix = self.draw(epoch, step, self.first_pair + number, *frames.shape[-2:])
                frames[pair] = _mix_frames(on_device.frames[pair], mix)
            fractions.append(mix.fraction)
        labels = mix_labels(self.distributions(batch.label), fractions)
        return replace(on_device, frames=frames, label=upload(labels, device))

    def draw(self, epoch: int, step: int, pair: int, height: int, width: int) -> Mix:
        """Draws the mixture of the pair with that number in the global batch."""
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

    def distributions(self, labels: Tensor) -> Tensor:
        """Returns class indices (B,), or values per class (B, K), as smoothed values (B, K) float32."""
        values = labels if labels.ndim == 2 else F.one_hot(labels, self.num_classes)
        return smooth_labels(values.float(), self.label_smoothing, independent=self.independent)


def build_mixer(cfg: CfgNode, *, rank: int, batch_size: int) -> BatchMixer | None:
    """Builds the mixer that ``MIXUP`` describes; returns None where ``MIXUP.ENABLE`` is False.

    Args:
        rank: of this process.
        batch_size: videos per batch of each process.
    """
    if not cfg.MIXUP.ENABLE:
        return None
    losses: Any = registry_of("MODEL.LOSS_FUNC")
    return BatchMixer(
        num_classes=cfg.MODEL.NUM_CLASSES,
        mixup_alpha=cfg.MIXUP.ALPHA,
        cutmix_alpha=cfg.MIXUP.CUTMIX_ALPHA,
        prob=cfg.MIXUP.PROB,
        switch_prob=cfg.MIXUP.SWITCH_PROB,
        label_smoothing=cfg.MIXUP.LABEL_SMOOTH_VALUE,
        seed=cfg.RNG_SEED,
        first_pair=rank * (batch_size * clips_per_video(cfg) // 2),
        independent=losses.forms_of(cfg.MODEL.LOSS_FUNC).independent,
    )


def _mix_frames(pair: Tensor, mix: Mix) -> Tensor:
    """Returns two clips (2, 3, T, H, W) uint8, each mixed with the other."""
    partners = pair.flip(0)
    if mix.box is None:
        return torch.lerp(partners.float(), pair.float(), mix.fraction).round().to(pair.dtype)
    top, left, bottom, right = mix.box
    mixed = pair.clone()
    mixed[..., top:bottom, left:right] = partners[..., top:bottom, left:right]
    return mixed


def smooth_labels(values: Tensor, fraction: float, *, independent: bool) -> Tensor:
    """Returns labels of which a fraction is divided equally among all classes.

    The method is label smoothing (Szegedy et al., 2016, section 7).

    Args:
        values: (B, K) float.
        fraction: of each label that is divided.
        independent: for a loss that decides about each class by itself, the fraction of each value is divided
            among absence and presence of its class instead, so that the value moves towards 0.5.
    """
    part = 0.5 if independent else values.sum(dim=1, keepdim=True) / values.shape[1]
    return (1 - fraction) * values + fraction * part


def mix_labels(labels: Tensor, fractions: Sequence[float]) -> Tensor:
    """Returns the labels (B, K) of mixed pairs; a last odd clip keeps its own.

    Args:
        labels: (B, K) float; clips 0 and 1, 2 and 3, … are a pair.
        fractions: of each pair, of a clip that remains its own.

    >>> import torch
    >>> mix_labels(torch.eye(3), [0.75]).tolist()
    [[0.75, 0.25, 0.0], [0.25, 0.75, 0.0], [0.0, 0.0, 1.0]]
    """
    mixed = labels.clone()
    for number, fraction in enumerate(fractions):
        pair = slice(2 * number, 2 * number + 2)
        mixed[pair] = fraction * labels[pair] + (1 - fraction) * labels[pair].flip(0)
    return mixed
