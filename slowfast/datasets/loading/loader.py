"""From items to batches, in worker processes.

B clips, T frames, H W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from slowfast.datasets.clip import Batch, BrokenVideo, Clip, ReadClip, StreamedClip
from slowfast.datasets.loading.samplers import EvalSampler, TrainSampler
from slowfast.datasets.loading.workers import WorkerPool
from slowfast.datasets.video_dataset import Item, VideoDataset
from slowfast.datasets.views.augment import clips_per_video


def collate(items: Sequence[Item]) -> Batch:
    """Makes a batch of the clips among ``items``, all of one type.

    Broken videos go to ``broken``, and so do those that clips were substituted for. A batch without a clip
    has B = 0.
    """
    clips = [item for item in items if not isinstance(item, BrokenVideo | StreamedClip)]
    broken = [item for item in items if isinstance(item, BrokenVideo)]
    broken += [video for clip in clips for video in clip.broken]
    streamed = [item for item in items if isinstance(item, StreamedClip)]
    kind: type[ReadClip] = type(clips[0]) if clips else Clip
    return kind.collate(clips, broken, streamed)


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

    def __iter__(self) -> Iterator[Batch]:
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
