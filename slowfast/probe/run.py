"""The steps of ``slowfast probe``: features, folds, baselines, search, test, report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from fvcore.common.config import CfgNode
from numpy.typing import NDArray

from slowfast.config.check import check
from slowfast.datasets.build import build_dataset, read_lists
from slowfast.datasets.groups import groups_by_pattern
from slowfast.distributed.device import choose_device, is_cpu
from slowfast.distributed.host import usable_cores
from slowfast.distributed.world import World
from slowfast.engine.run_lock import lock_folder
from slowfast.engine.run_model import build_seeded_model
from slowfast.errors import ConfigError, DataError
from slowfast.features.cache import Manifest
from slowfast.files import write_text
from slowfast.interrupt import Interrupt
from slowfast.log import get_logger
from slowfast.models.feature_head import check_origin, network_for
from slowfast.models.frame_format import adopt_frame_format, frame_normalization
from slowfast.probe.baselines import baseline_names, require_scikit_learn
from slowfast.probe.candidate import Candidate, CandidateSource, changed, find_source
from slowfast.probe.feature_table import FeatureTable, concatenate, listed_groups, load_table
from slowfast.probe.folds import check_disjoint, check_group_columns, group_folds, stratified_subset
from slowfast.probe.metrics import METRICS
from slowfast.probe.output_folder import claim_results_folder
from slowfast.probe.report import CHOSEN, ProbeReport, build_report
from slowfast.probe.search import SearchResult, search
from slowfast.probe.tasks import TEST_LIST, Problem, ResultFiles, Runner, Task

logger = get_logger(__name__)


@dataclass(frozen=True)
class ProbeOptions:
    """Options of a search.

    Attributes:
        splits: splits that are divided into folds, such as ``train`` and ``val``.
        test: whether the chosen setting and the baselines are also tested on the split ``test``.
        group_by: regular expression that captures the group of a path; empty: the column of groups of the
            lists, or each video is a group where none of the lists has one.
        num_folds, num_seeds, num_candidates: of the search.
        limit: about how many videos are used, a random choice; 0: all.
        metric: a key of ``slowfast.probe.metrics.METRICS``.
        workers: processes; 0: one per core, or one where there is a GPU.
    """

    splits: tuple[str, ...] = ("train", "val")
    test: bool = False
    group_by: str = ""
    num_folds: int = 5
    num_seeds: int = 3
    num_candidates: int = 40
    limit: int = 0
    metric: str = "accuracy"
    workers: int = 0


def probe(cfg: CfgNode, options: ProbeOptions, interrupt: Interrupt) -> ProbeReport:
    """Searches the best classifier of cached features and writes the report to ``OUTPUT_DIR``.

    Raises:
        ConfigError: for settings that do not fit together, or features that do not fit the model.
        DataError: for videos or groups that cannot be divided, or a test list that shares groups.
        FolderInUseError: where another run or search writes to ``OUTPUT_DIR``.
        Interrupted: after a signal; the same command continues.
    """
    require_scikit_learn()
    source = find_source(cfg)
    with lock_folder(cfg.OUTPUT_DIR):
        return _probe(cfg, source, options, interrupt)


def _probe(cfg: CfgNode, source: CandidateSource, options: ProbeOptions, interrupt: Interrupt) -> ProbeReport:
    started = time.perf_counter()
    problem, manifest = _load_problem(cfg, source, options)
    candidates = _checked_candidates(cfg, problem, source, options.num_candidates)
    folder = Path(cfg.OUTPUT_DIR)
    claim_results_folder(folder, problem, manifest)
    _log_problem(problem, options, len(candidates))
    workers = choose_workers(options.workers, problem.device)
    files = ResultFiles(folder / "trainings")
    with Runner(problem, files, workers=workers, scratch=folder, interrupt=interrupt) as runner:
        result = search(
            runner,
            problem,
            candidates,
            baseline_names(problem.table),
            METRICS[options.metric],
            num_folds=options.num_folds,
            num_seeds=options.num_seeds,
        )
        test_scores = _test(runner, result, options.num_seeds) if options.test else {}
    report = build_report(
        result,
        problem,
        options.metric,
        test_scores=test_scores,
        trainings=runner.new_tasks,
        seconds=time.perf_counter() - started,
    )
    report.write(folder)
    _write_chosen(cfg, result, folder)
    return report


def _load_problem(
    cfg: CfgNode, source: CandidateSource, options: ProbeOptions
) -> tuple[Problem, Manifest | None]:
    """Reads the features and divides the videos."""
    splits = [*options.splits, "test"] if options.test else options.splits
    lists = read_lists(cfg, *splits)  # before the model, whose weights may have to be downloaded
    model: Any = None
    if cfg.DATA.FEATURES:  # the model tells whether the cache is one of its own features
        model = build_seeded_model(cfg, World(), fetch_weights=True)
        own = adopt_frame_format(cfg, model)
    else:
        own = changed(cfg, [("DATA.INTERPOLATION", "bilinear"), ("DATA.NORMALIZATION", "data")])
    datasets = {split: build_dataset(own, split, annotations=lists.get(split)) for split in splits}
    manifests = [_check_origin(own, model, dataset) for dataset in datasets.values()]
    if not options.group_by:
        check_group_columns({split: dataset.groups is not None for split, dataset in datasets.items()})
    training = _load_training([datasets[split] for split in options.splits], options, own.RNG_SEED)
    _check_unique(training)
    groups = _groups(training.paths, training.groups, options)
    folds = group_folds(training.labels.tolist(), groups, options.num_folds, own.RNG_SEED)
    test = []
    if options.test:
        test_set = datasets["test"]
        test_groups = _groups(test_set.paths, listed_groups(test_set), options)
        check_disjoint(groups, test_groups)
        test = [load_table(test_set)]
        groups += _groups(test[0].paths, test[0].groups, options)
        folds = np.concatenate([folds, np.full(len(test[0]), TEST_LIST)])
    table = concatenate([training, *test])
    placeholder = source.without_frame_encoder(own, feature_dim=table.row_shape[-1])
    device = choose_device(own.NUM_GPUS)
    return Problem(changed(own, placeholder), table, folds, tuple(groups), device), manifests[0]


def _load_training(datasets: Sequence[Any], options: ProbeOptions, seed: int) -> FeatureTable:
    """Reads the features of the training videos, or of a subset of them."""
    kept: Sequence[Sequence[int] | None] = [None] * len(datasets)
    if options.limit:
        paths = [path for dataset in datasets for path in dataset.paths]
        labels = [str(label) for dataset in datasets for label in dataset.labels.tolist()]
        listed = [group for dataset in datasets for group in listed_groups(dataset)]
        groups = _groups(paths, listed, options)
        chosen = np.array(stratified_subset(labels, groups, options.limit, seed))
        ends = np.cumsum([dataset.num_videos for dataset in datasets])
        starts = [0, *ends[:-1]]
        kept = [
            (chosen[(chosen >= start) & (chosen < end)] - start).tolist()
            for start, end in zip(starts, ends, strict=True)
        ]
    return concatenate(
        [load_table(d, own) for d, own in zip(datasets, kept, strict=True) if own is None or own]
    )


def _check_origin(cfg: CfgNode, model: Any, dataset: Any) -> Manifest | None:
    """Returns the description of a cache; None for features of other programs.

    Raises:
        ConfigError: where the cache was made by another model or with another normalisation.
    """
    origin = dataset.features
    if origin is None or origin.manifest is None:
        return None
    normalization = frame_normalization(cfg, model)
    network_for(model, dataset, normalization)  # an error for a model that cannot classify features
    check_origin(origin, model, normalization)
    return origin.manifest


def _groups(paths: Sequence[str], listed: Sequence[str], options: ProbeOptions) -> list[str]:
    """Returns the group of each path, by the options or else that of its list."""
    return groups_by_pattern(paths, options.group_by) if options.group_by else list(listed)


def _check_unique(table: FeatureTable) -> None:
    """Raises ``DataError`` where two lists name the same video, which a fold would both learn and test."""
    seen: set[Any] = set()
    for path, segment in zip(table.paths, table.segments, strict=True):
        if (path, segment) in seen:
            raise DataError(f"{path}: is in the lists twice; remove it from one of them")
        seen.add((path, segment))


def _checked_candidates(
    cfg: CfgNode, problem: Problem, source: CandidateSource, limit: int
) -> Sequence[Candidate]:
    """Returns the candidates, whose configurations are valid.

    Raises:
        ConfigError: where one is not, such as for a key that the user has set to a value that excludes it.
    """
    num_videos = min(len(problem.division(fold)[0]) for fold in range(int(problem.folds.max()) + 1))
    candidates = source.candidates(cfg, row_shape=problem.table.row_shape, num_videos=num_videos, limit=limit)
    for candidate in candidates:
        if problems := check(candidate.apply(problem.cfg)):
            raise ConfigError(*problems, source=f"candidate {candidate.family} {candidate.describe()}")
    return candidates


def choose_workers(wanted: int, device: torch.device) -> int:
    """Returns the number of processes: the ``wanted`` one, or one per core that may be used; one on a GPU."""
    if not is_cpu(device):
        return 1
    cores = usable_cores()
    return wanted or min(cores, psutil.cpu_count(logical=False) or cores)


def _test(runner: Runner, result: SearchResult, num_seeds: int) -> dict[Candidate | str, NDArray[np.float32]]:
    """Returns scores on the test list of the baselines and of the best candidate of each family."""
    best = [family[0] for family in result.families().values()]
    tasks = [Task(r.method, TEST_LIST) for r in result.baselines]
    tasks += [Task(r.method, TEST_LIST, seed) for r in best for seed in range(num_seeds)]
    trained = runner.run(tasks, "test")
    methods = list(dict.fromkeys(task.method for task in trained))
    return {
        method: np.mean([t.scores for task, t in trained.items() if task.method == method], axis=0)
        for method in methods
    }


def _write_chosen(cfg: CfgNode, result: SearchResult, folder: Path) -> None:
    """Writes the configuration of the best candidate, with which `slowfast run` trains it."""
    best = result.candidates[0].method
    assert isinstance(best, Candidate)
    output = ("OUTPUT_DIR", str(folder / "chosen"))
    write_text(folder / CHOSEN, changed(best.apply(cfg), [output]).dump())


def _log_problem(problem: Problem, options: ProbeOptions, num_candidates: int) -> None:
    train, test = problem.division(TEST_LIST)
    counts = np.bincount(problem.table.labels.numpy()[train])
    logger.info(
        "%d videos of %d classes (%d to %d each) in %d groups, %d folds; %d test videos; %d candidates",
        len(train),
        len(counts),
        counts.min(),
        counts.max(),
        len({problem.groups[video] for video in train}),
        options.num_folds,
        len(test),
        num_candidates,
    )
