"""From items to batches, in worker processes.

B clips, T frames, H W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from slowfast.datasets.augment import clips_per_video
from slowfast.datasets.clip import BrokenVideo, Clip, ClipBatch, LongClip
from slowfast.datasets.feature_clip import FeatureBatch, FeatureClip, collate_features
from slowfast.datasets.samplers import EvalSampler, TrainSampler
from slowfast.datasets.video_dataset import Item, VideoDataset
from slowfast.datasets.workers import WorkerPool


def collate(items: Sequence[Item]) -> ClipBatch | FeatureBatch:
    """Makes a batch; shorter clips are padded with zeros and masked.

    The frames' memory is laid out (B, T, H, W, 3), as decoded: what a network wants as channels-last.

    Broken videos go to ``broken``, and so do those that clips were substituted for; a batch of nothing
    else has B = 0.
    """
    read = [item for item in items if isinstance(item, Clip | FeatureClip)]
    broken = [item for item in items if isinstance(item, BrokenVideo)]
    broken += [video for clip in read for video in clip.broken]
    if rows := [clip for clip in read if isinstance(clip, FeatureClip)]:
        return collate_features(rows, tuple(broken))
    clips = [clip for clip in read if isinstance(clip, Clip)]
    lengths = [clip.frames.shape[1] for clip in clips]
    longest = max(lengths, default=0)
    height, width = clips[0].frames.shape[2:] if clips else (0, 0)
    dtype = clips[0].frames.dtype if clips else torch.uint8
    frames = torch.empty(len(clips), longest, height, width, 3, dtype=dtype)
    positions = torch.zeros(len(clips), longest, dtype=torch.int64)
    for i, (clip, length) in enumerate(zip(clips, lengths, strict=True)):
        frames[i, :length] = clip.frames.permute(1, 2, 3, 0)
        frames[i, length:] = 0
        positions[i, :length] = clip.positions
    mask = None
    if min(lengths, default=0) < longest:
        mask = torch.arange(longest) < torch.tensor(lengths)[:, None]  # (B, T)
    labels = [torch.as_tensor(clip.label) for clip in clips]
    return ClipBatch(
        frames=frames.permute(0, 4, 1, 2, 3),  # (B, 3, T, H, W)
        positions=positions,
        mask=mask,
        label=torch.stack(labels) if labels else torch.zeros(0, dtype=torch.int64),
        video_id=torch.tensor([clip.video_id for clip in clips], dtype=torch.int64),
        view_id=torch.tensor([clip.view_id for clip in clips], dtype=torch.int64),
        broken=tuple(broken),
        long=tuple(item for item in items if isinstance(item, LongClip)),
    )


class ClipLoader:
    """Batches of one process, made in worker processes that may hang or die (:class:`WorkerPool`).

    Args:
        batch_sampler: gives the items of each batch; the loader begins a new round of it each time it is
            iterated.
        num_workers: 0: batches are made in this process, and a video that hangs it or kills it does just
            that.
        sample_timeout, pin_memory: see :class:`WorkerPool`.
    """

    def __init__(
        self,
        dataset: VideoDataset,
        batch_sampler: TrainSampler | EvalSampler,
        *,
        num_workers: int = 0,
        sample_timeout: float = 0.0,
        pin_memory: bool = False,
    ) -> None:
        self.dataset = dataset
        self.batch_sampler = batch_sampler
        self._pin_memory = pin_memory
        self._pool: WorkerPool | None = None
        if num_workers > 0:
            self._pool = WorkerPool(
                dataset,
                collate,
                num_workers=num_workers,
                sample_timeout=sample_timeout,
                pin_memory=pin_memory,
            )

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[ClipBatch | FeatureBatch]:
        if self._pool is not None:
            yield from self._pool.run(self.batch_sampler)
            return
        for items in self.batch_sampler:
            batch = collate([self.dataset[item] for item in items])
            yield batch.pin_memory() if self._pin_memory else batch


def build_loader(
    cfg: Any,
    dataset: VideoDataset,
    split: str,
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
) -> ClipLoader:
    """Builds the loader of one process; its ``batch_sampler`` is a Train- or an :class:`EvalSampler`.

    Args:
        split: "train" gives the rest of the epoch at ``batch_sampler.set_position(epoch, step)``; the
            others give each view once.
        batch_size: clips of a batch of this process.
        rank, world_size: this process, and how many there are, over all machines.
        pin_memory: where batches go to a GPU.
    """
    sampler: TrainSampler | EvalSampler
    place = {"rank": rank, "world_size": world_size}
    if split == "train":
        repeats = clips_per_video(cfg)
        sampler = TrainSampler(
            len(dataset), batch_size * world_size, seed=cfg.RNG_SEED, repeats=repeats, **place
        )
    else:
        sampler = EvalSampler(dataset.num_videos, dataset.num_views, batch_size, **place)
    return ClipLoader(
        dataset,
        sampler,
        num_workers=cfg.DATA_LOADER.NUM_WORKERS,
        sample_timeout=cfg.DATA_LOADER.SAMPLE_TIMEOUT,
        pin_memory=pin_memory and cfg.DATA_LOADER.PIN_MEMORY,
    )
