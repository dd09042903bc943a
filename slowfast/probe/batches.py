"""The batches of a training in memory.

V videos, B clips of a batch, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from fvcore.common.config import CfgNode
from numpy.typing import NDArray
from torch import Tensor

from slowfast.config.derived import clips_per_video
from slowfast.datasets.loading.samplers import SAMPLER_REGISTRY, TrainingSampler
from slowfast.datasets.views.mixing import build_mixer
from slowfast.datasets.views.soft_labels import mix_labels
from slowfast.features.mixing import FeatureMixer, mix_features
from slowfast.probe.feature_table import DRAWS, ClipInputs, ClipPlan, FeatureTable


@dataclass(frozen=True)
class _Videos:
    """The training videos, as samplers take a data set."""

    labels: NDArray[np.int64]
    paths: Sequence[str]

    def __len__(self) -> int:
        return len(self.labels)


class Batches:
    """The batches of a training in memory: the sampler, the mixer and the clips of ``slowfast run``.

    Args:
        cfg: of the candidate.
        plan: of training clips.
        table: of all videos.
        train: indices of the training videos.
        seed: of the order of the videos and of mixtures.
        device: of the batches.

    Attributes:
        labels: (V,) int64, classes of the training videos.
    """

    def __init__(
        self,
        cfg: CfgNode,
        plan: ClipPlan,
        table: FeatureTable,
        train: NDArray[np.int64],
        seed: int,
        device: torch.device,
    ) -> None:
        self._plan, self._table, self._train, self._device = plan, table, train, device
        self.labels = table.labels.numpy()[train]
        videos = _Videos(self.labels, [table.paths[index] for index in train])
        batch = min(cfg.TRAIN.BATCH_SIZE, len(train))
        self._sampler: TrainingSampler = SAMPLER_REGISTRY.get(cfg.DATA_LOADER.TRAIN_SAMPLER)(
            videos, batch, rank=0, world_size=1, seed=seed, repeats=clips_per_video(cfg)
        )
        mixer = build_mixer(cfg, rank=0, batch_size=batch)
        self._mixer = None if mixer is None else FeatureMixer(replace(mixer, seed=seed))

    def __len__(self) -> int:
        """Returns the steps of an epoch; the last, incomplete step is left out."""
        return len(self._sampler)

    def epoch(self, epoch: int) -> Iterator[tuple[ClipInputs, Tensor]]:
        """Yields the inputs of the model and the labels of each step."""
        self._sampler.set_position(epoch)
        for step, refs in enumerate(self._sampler):
            videos = torch.from_numpy(self._train[[ref.index for ref in refs]])
            draws = torch.tensor([ref.epoch % DRAWS for ref in refs])
            features, positions, mask = self._plan.clips(self._table, videos, draws)
            labels = self._table.labels[videos]
            if self._mixer is not None:
                fractions = self._mixer.fractions(len(videos) // 2, epoch, step)
                features = mix_features(features, mask, fractions)
                labels = mix_labels(self._mixer.mixer.distributions(labels), fractions)
            yield to_device((features, positions, mask), self._device), labels.to(self._device)


def to_device(inputs: ClipInputs, device: torch.device) -> ClipInputs:
    """Returns the arguments of ``classify`` on a device."""
    features, positions, mask = inputs
    return features.to(device), positions.to(device), None if mask is None else mask.to(device)
