"""The ways to load the same training clips: this package's loader, and others that follow its plans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import psutil
import torch
from fvcore.common.config import CfgNode
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.loading.clip_plans import BatchPlan, plan_epoch
from benchmarks.loading.pyslowfast_clips import EagerClips
from benchmarks.loading.spdl_clips import SpdlLoader
from benchmarks.loading.torchcodec_clips import TorchcodecLoader
from slowfast.config import get_default_config
from slowfast.datasets.build import build_dataset
from slowfast.datasets.clip import normalize
from slowfast.datasets.loading.loader import build_loader
from slowfast.datasets.loading.samplers import TrainSampler
from slowfast.errors import ConfigError
from slowfast.video.torchcodec_video import torchcodec_version

BATCH = 8
# Other methods of scaling differ by less, other frames or crops by more.
LEAST_DECIBELS = 35.0
OURS = "ours"
SPDL, TORCHCODEC, PYSLOWFAST = "SPDL", "torchcodec", "PySlowFast's method"
PEERS = (SPDL, TORCHCODEC, PYSLOWFAST)

Epochs = Sequence[Sequence[BatchPlan]]
Way = Callable[[int], Iterator[Tensor]]
"""Yields the batches of an epoch, given by its number: (B, 3, T, S, S) uint8, or float32 and normalized."""


def missing_peer(name: str) -> str:
    """Returns the reason why a peer cannot run, with a remedy; empty where it can."""
    if (name == SPDL and not has_spdl()) or (name == TORCHCODEC and torchcodec_version() is None):
        return (
            f"{name} is not installed, or cannot load FFmpeg's libraries; pip install -e '.[benchmark]', and "
            "FFmpeg by the package manager (Debian: the package ffmpeg)"
        )
    return ""


def has_spdl() -> bool:
    """Returns whether SPDL, and the FFmpeg libraries that it needs, can be loaded."""
    try:
        from spdl.io.utils import get_ffmpeg_versions

        return bool(get_ffmpeg_versions())
    except (ImportError, OSError, RuntimeError):
        return False


def choose_peers(names: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Returns the peers that can run, and notes about the others.

    Args:
        names: the chosen ones; None: all that can run.

    Raises:
        ConfigError: where one that was chosen cannot run.
    """
    missing = {name: reason for name in names or PEERS if (reason := missing_peer(name))}
    if names is not None and missing:
        raise ConfigError(*missing.values())
    return [name for name in names or PEERS if name not in missing], list(missing.values())


def recipe(folder: Path, paths: Sequence[str], workers: int) -> CfgNode:
    """Writes a csv of the paths; returns the Kinetics recipe for it."""
    (folder / "train.csv").write_text("".join(f"{path} 0\n" for path in paths))
    cfg = get_default_config()
    cfg.DATA.PATH_TO_DATA_DIR = str(folder)
    cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE, cfg.DATA.TARGET_FPS = 16, 8, 30
    cfg.DATA.TRAIN_JITTER_SCALES, cfg.DATA.TRAIN_CROP_SIZE = [256, 320], 224
    cfg.DATA_LOADER.NUM_WORKERS = workers
    return cfg


def build_ways(cfg: CfgNode, peers: Sequence[str], num_epochs: int) -> dict[str, Way]:
    """Builds the loaders; those of peers but PySlowFast's read the clips of this package's loader."""
    loader = build_loader(cfg, dataset := build_dataset(cfg, "train"), "train", batch_size=BATCH)
    sampler = cast(TrainSampler, loader.batch_sampler)
    epochs = [plan_epoch(loader, number) for number in range(num_epochs)]
    workers = cfg.DATA_LOADER.NUM_WORKERS

    def ours(epoch: int) -> Iterator[Tensor]:
        sampler.set_position(epoch)
        for batch in loader:
            yield batch.frames  # type: ignore[attr-defined]

    ways: dict[str, Way] = {OURS: ours}
    for name in peers:
        if name == SPDL:
            ways[name] = SpdlLoader(epochs, max(workers, 1), BATCH).batches
        elif name == PYSLOWFAST:
            ways[name] = _eager(cfg, list(dataset.paths))
        else:
            ways[name] = TorchcodecLoader(epochs, workers).batches
    return ways


def _eager(cfg: CfgNode, paths: list[str]) -> Way:
    """Returns PySlowFast's method, with random clips of its own."""
    clips = EagerClips(
        paths,
        num_frames=cfg.DATA.NUM_FRAMES,
        sampling_rate=cfg.DATA.SAMPLING_RATE,
        target_fps=cfg.DATA.TARGET_FPS,
        short_sides=tuple(cfg.DATA.TRAIN_JITTER_SCALES),
        crop_size=cfg.DATA.TRAIN_CROP_SIZE,
    )
    workers = cfg.DATA_LOADER.NUM_WORKERS
    loader = DataLoader(
        clips, batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    return lambda _: iter(loader)


class TimedEpochs:
    """A call that loads the next epoch to normalized batches in this process.

    Attributes:
        cpu_seconds: of each epoch, of this process and its workers.
    """

    def __init__(self, way: Way, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self._way = way
        self._mean, self._std = mean, std
        self.cpu_seconds: list[float] = []

    def __call__(self) -> None:
        before = _cpu_seconds()
        for frames in self._way(len(self.cpu_seconds)):
            if frames.dtype == torch.uint8:
                normalize(frames, self._mean, self._std)
        self.cpu_seconds.append(_cpu_seconds() - before)


def _cpu_seconds() -> float:
    """Returns the CPU time of this process and its children so far."""
    process = psutil.Process()
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def decibels(ways: dict[str, Way]) -> dict[str, float]:
    """Returns the peak signal-to-noise ratio of each peer's first batch to ours; not of PySlowFast's.

    Raises:
        RuntimeError: below ``LEAST_DECIBELS``: the peer has read other frames or other crops.
    """
    first = {name: _first_batch(way) for name, way in ways.items() if name != PYSLOWFAST}
    ours = first.pop(OURS).to(torch.float32)
    found = {}
    for name, frames in first.items():
        error = float((frames.to(torch.float32) - ours).square().mean())
        found[name] = float("inf") if error == 0 else 10 * float(torch.tensor(255**2 / error).log10())
        if found[name] < LEAST_DECIBELS:
            raise RuntimeError(f"{name} differs from our frames: {found[name]:.1f} dB")
    return found


def _first_batch(way: Way) -> Tensor:
    """Returns the first batch of epoch 0; reads all others too, which leaves the loader idle."""
    first, *_ = list(way(0))
    return first
