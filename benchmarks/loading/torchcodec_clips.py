"""A data set that reads planned clips with torchcodec, for ``torch.utils.data.DataLoader``.

Torchcodec decodes in its exact mode, as the frames are given by their numbers. Torchvision scales them: with
``transforms=[Resize(…)]``, by which torchcodec scales while it decodes, clips take longer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.loading.clip_plans import BatchPlan, ClipPlan


class TorchcodecClips(Dataset[Tensor]):
    """A data set whose items are frames (3, T, S, S) uint8 in the order of ``plans``."""

    def __init__(self, plans: Sequence[ClipPlan]) -> None:
        self._plans = plans

    def __len__(self) -> int:
        return len(self._plans)

    def __getitem__(self, index: int) -> Tensor:
        plan = self._plans[index]
        place = plan.place
        images = self._scaled(plan)  # (T, 3, H, W), channels last in memory
        bottom, right = place.top + place.crop_height, place.left + place.crop_width
        images = images[:, :, place.top : bottom, place.left : right]
        if place.flip:
            images = images.flip(3)
        return images.transpose(0, 1)

    def _scaled(self, plan: ClipPlan) -> Tensor:
        from torchcodec.decoders import VideoDecoder
        from torchvision.transforms.v2 import functional as tvf

        images = VideoDecoder(plan.path).get_frames_at(list(plan.indices)).data
        return tvf.resize(images, [plan.place.height, plan.place.width], antialias=True)


class TorchcodecLoader:
    """The batches of several epochs, with worker processes that stay between them.

    Args:
        epochs: the plans of each epoch.
        workers: number of worker processes; 0: this process.
    """

    def __init__(self, epochs: Sequence[Sequence[BatchPlan]], workers: int) -> None:
        plans = [plan for batches in epochs for batch in batches for plan in batch]
        numbers = iter(range(len(plans)))
        self._epochs = [[list(islice(numbers, len(batch))) for batch in batches] for batches in epochs]
        self._batches: list[list[int]] = []  # the item numbers of each batch of the epoch
        self._loader = DataLoader(
            TorchcodecClips(plans),
            batch_sampler=self._batches,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=_stack,
        )

    def batches(self, epoch: int) -> Iterator[Tensor]:
        """Yields the batches of an epoch, (B, 3, T, S, S) uint8, channels last in memory."""
        self._batches[:] = self._epochs[epoch]
        yield from self._loader


def _stack(clips: list[Tensor]) -> Tensor:
    """Returns clips (3, T, S, S) as a batch (B, 3, T, S, S), in shared memory where a worker calls it."""
    rows = [clip.permute(1, 2, 3, 0) for clip in clips]  # (T, S, S, 3)
    out = None
    if torch.utils.data.get_worker_info() is not None:
        # As torch's own collate function does, to spare a copy.
        count = sum(row.numel() for row in rows)
        out = rows[0].new(rows[0].untyped_storage()._new_shared(count)).resize_(len(rows), *rows[0].shape)
    return torch.stack(rows, out=out).permute(0, 4, 1, 2, 3)
