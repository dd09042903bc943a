"""Writes the quickstart's data set: H.264 files, ``train.csv val.csv test.csv`` and ``classes.json``."""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from slowfast.distributed.host import usable_cores
from slowfast.errors import DataError
from slowfast.files import atomic_write, delete_unfinished, read_json_object, write_text
from slowfast.interrupt import exit_when_parent_ends, sparing_new_processes
from slowfast.progress import Progress
from vtn.quickstart.motion import CLASSES, plan_motion
from vtn.quickstart.photographs import PHOTOGRAPHS, load_photograph, photograph_path
from vtn.quickstart.scene import draw_frames

SPLITS = ("train", "val", "test")

# (H, W) of the videos; even numbers, as 4:2:0 chroma requires.
RESOLUTIONS = ((72, 96), (90, 120), (96, 96), (96, 128), (112, 112), (128, 96))
# (frames per second, number of frames): 1 to 1.5 seconds. Each number of frames is one more than a multiple
# of 7, so that 8 evenly spaced positions over the whole video are whole numbers. Otherwise the truncation of
# positions to frame indices, which always moves them towards the start, would distinguish a clip from its
# reverse: a model that averages frames gained 5 to 8 points from it.
LENGTHS = ((12, 15), (15, 15), (15, 22), (20, 22), (20, 29), (24, 29), (25, 29))
# Frames between two key frames.
GROUPS_OF_PICTURES = (6, 12, 250)

# Version of the way videos are drawn. Stored with the settings, so that a folder never mixes two versions.
RECIPE = 1


@dataclass(frozen=True)
class DatasetSettings:
    """Everything that the data set depends on: the same settings give the same files.

    Attributes:
        train, val, test: number of videos per split.
        seed: seed of everything random.
        recipe: version of the way videos are drawn.
    """

    train: int = 3200
    val: int = 200
    test: int = 400
    seed: int = 1
    recipe: int = RECIPE


@dataclass(frozen=True)
class VideoPlan:
    """The properties of one video.

    Attributes:
        path: path of the file, relative to the data set's folder.
        split, index: split and number of the video; with the seed they determine everything random in it.
        seed: seed of the data set.
        label: index into ``CLASSES``.
        background, object_photograph: names of two different photographs.
        size: (H, W) in pixels.
        fps: frames per second.
        num_frames: number of frames T.
        noise: standard deviation of the camera's noise, on the scale 0 to 255.
        crf: H.264 quality; larger is worse.
        group: number of frames between two key frames.
        b_frames: largest number of consecutive B-frames.
    """

    path: str
    split: str
    index: int
    seed: int
    label: int
    background: str
    object_photograph: str
    size: tuple[int, int]
    fps: int
    num_frames: int
    noise: float
    crf: int
    group: int
    b_frames: int


def plan_clip(split: str, index: int, seed: int) -> VideoPlan:
    """Returns random properties of one video; the label is ``index`` modulo 8, so classes are balanced."""
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    label = index % len(CLASSES)
    background, cut = rng.choice(PHOTOGRAPHS[split], 2, replace=False)
    height, width = RESOLUTIONS[rng.integers(len(RESOLUTIONS))]
    fps, num_frames = LENGTHS[rng.integers(len(LENGTHS))]
    return VideoPlan(
        path=f"{split}/{CLASSES[label].replace(' ', '_')}/{index:05d}.mp4",
        split=split,
        index=index,
        seed=seed,
        label=label,
        background=str(background),
        object_photograph=str(cut),
        size=(height, width),
        fps=fps,
        num_frames=num_frames,
        noise=float(rng.uniform(1.0, 6.0)),
        crf=int(rng.integers(20, 31)),
        group=int(rng.choice(GROUPS_OF_PICTURES)),
        b_frames=int(rng.integers(0, 3)),
    )


def plan_dataset(settings: DatasetSettings) -> Iterator[VideoPlan]:
    """Yields the plan of every video, split by split."""
    for split in SPLITS:
        for index in range(getattr(settings, split)):
            yield plan_clip(split, index, settings.seed)


def draw_clip(plan: VideoPlan) -> NDArray[np.uint8]:
    """Returns the clip's frames before compression, (T, H, W, 3) RGB."""
    # A second random stream, so that the content of a clip does not depend on how its properties are drawn.
    rng = np.random.default_rng((plan.seed, SPLITS.index(plan.split), plan.index, 1))
    motion = plan_motion(plan.label, plan.num_frames, rng)
    background, cut = load_photograph(plan.background), load_photograph(plan.object_photograph)
    return draw_frames(motion, background, cut, plan.size, plan.noise, rng)


def write_clip(folder: str, plan: VideoPlan) -> None:
    """Draws and encodes one video; the file appears under its name when it is complete."""
    path = Path(folder, plan.path)
    with atomic_write(path) as partial, av.open(str(partial), "w", format="mp4") as container:
        options = {"preset": "superfast", "crf": str(plan.crf), "bf": str(plan.b_frames)}
        stream = container.add_stream("libx264", rate=Fraction(plan.fps), options=options)
        stream.height, stream.width = plan.size
        stream.pix_fmt = "yuv420p"
        stream.gop_size = plan.group
        stream.codec_context.thread_count = 1
        for pixels in draw_clip(plan):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def generate_dataset(folder: Path, settings: DatasetSettings, *, workers: int | None = None) -> int:
    """Writes the data set to ``folder``; videos that exist already are kept.

    Args:
        folder: folder of the data set; made where it is missing.
        settings: number of videos and seed.
        workers: number of processes; None: one per CPU core.

    Returns:
        The number of videos written by this call.

    Raises:
        DataError: where the folder holds a data set with other settings, or a photograph is missing.
    """
    for split in SPLITS:
        for name in PHOTOGRAPHS[split]:
            photograph_path(name)
    _check_settings(folder, settings)
    plans = list(plan_dataset(settings))
    for videos in folder.glob("*/*"):
        delete_unfinished(videos)
    missing = [plan for plan in plans if not (folder / plan.path).is_file()]
    if missing:
        _write_clips(folder, missing, workers or usable_cores())
    _write_annotations(folder, plans)
    return len(missing)


def _check_settings(folder: Path, settings: DatasetSettings) -> None:
    """Writes the settings to a new folder, or compares them with those stored in it."""
    folder.mkdir(parents=True, exist_ok=True)
    file, wanted = folder / "settings.json", asdict(settings)
    if not file.is_file():
        write_text(file, json.dumps(wanted, indent=1))
        return
    found = read_json_object(file)
    if found != wanted:
        differing = [f"{k}={found.get(k)} (wanted {v})" for k, v in wanted.items() if found.get(k) != v]
        raise DataError(
            f"{folder}: holds a data set with other settings: {', '.join(differing)}; "
            "choose another folder, or delete this one"
        )


def _write_clips(folder: Path, plans: list[VideoPlan], workers: int) -> None:
    # Spawned and not forked: the caller may run threads, which a forked process would not survive.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_exit_with_parent)
    try:
        with Progress(len(plans), "writing videos", "video") as bar:
            with sparing_new_processes(context):
                written = pool.map(write_clip, [str(folder)] * len(plans), plans, chunksize=8)
            for _ in written:
                bar.update(1)
    finally:
        pool.shutdown(cancel_futures=True)


def _exit_with_parent() -> None:
    """Makes a worker ignore Ctrl-C, which the parent handles, and exit when the parent has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    exit_when_parent_ends()


def _write_annotations(folder: Path, plans: list[VideoPlan]) -> None:
    # Absolute paths work from any current folder; the next call updates them if the folder was moved.
    folder = folder.resolve()
    for split in SPLITS:
        lines = [f"{folder / plan.path} {plan.label}\n" for plan in plans if plan.split == split]
        write_text(folder / f"{split}.csv", "".join(lines))
    classes = {name: label for label, name in enumerate(CLASSES)}
    write_text(folder / "classes.json", json.dumps(classes, indent=1))
