"""Isolated work on many files, with progress, resumed from what an earlier run wrote down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from slowfast.preparation.file_work.isolated import UNEXPECTED, Outcome, run_isolated
from slowfast.preparation.file_work.journal import Journal
from slowfast.preparation.file_work.probe import VideoFacts, probe_video
from slowfast.progress import Progress

T = TypeVar("T")

# Problems that can pass while the file stays the same: of rights, memory, the disk, the machine's load, or
# of this program. They are not remembered, so that the next run tries such files again.
_PASSING = frozenset({"crashed", "memory", "not permitted", "timeout", "unreadable", UNEXPECTED})


@dataclass(frozen=True)
class WorkOptions:
    """How work is done.

    Attributes:
        workers: processes at a time.
        time_limit: seconds for each file.
        journal: file in which results are kept.
    """

    workers: int
    time_limit: float
    journal: Path


def work_through(
    paths: Sequence[str],
    task: Callable[[str], T],
    kind: type[T],
    options: WorkOptions,
    *,
    description: str,
    settings: dict[str, Any],
    is_current: Callable[[str], bool] = lambda path: True,
) -> dict[str, Outcome[T]]:
    """Does ``task`` for each file that has no lasting result yet; returns the outcomes by path, in order.

    Args:
        kind: the dataclass that ``task`` returns, of what json can hold.
        settings: what results depend on beside the file.
        is_current: False where an earlier result no longer holds.
    """
    outcomes: dict[str, Outcome[T]] = {}
    limits = {"time_limit": options.time_limit}
    with Journal(options.journal, settings | limits) as journal:
        for path in paths:
            known = journal.find(path)
            if known is not None and known["problem"] not in _PASSING and is_current(path):
                value = None if known["value"] is None else kind(**known["value"])
                outcomes[path] = Outcome(path, value, known["problem"], known["detail"])
        left = [path for path in paths if path not in outcomes]
        problems = sum(1 for outcome in outcomes.values() if outcome.problem)
        with Progress(len(paths), description, "video") as progress:
            progress.update(len(outcomes))
            results = run_isolated(task, left, workers=options.workers, time_limit=options.time_limit)
            for outcome in results:
                outcomes[outcome.path] = outcome
                if outcome.problem not in _PASSING:
                    journal.add(outcome.path, asdict(outcome))
                problems += bool(outcome.problem)
                progress.update(1, failed=problems)
    return {path: outcomes[path] for path in paths}


def survey(
    paths: Sequence[str], options: WorkOptions, *, decode: bool, digest: bool, description: str
) -> list[VideoFacts]:
    """The facts of each file; what could not be read has a problem and no facts."""
    outcomes = work_through(
        paths,
        partial(probe_video, decode=decode, digest=digest),
        VideoFacts,
        options,
        description=description,
        settings={"decode": decode, "digest": digest},
    )
    return [
        outcome.value or VideoFacts(path, problem=outcome.problem, detail=outcome.detail)
        for path, outcome in outcomes.items()
    ]


def count_problems(problems: Sequence[str]) -> dict[str, int]:
    """How often each problem came, the most frequent first."""
    return dict(Counter(problem for problem in problems if problem).most_common())
