"""Isolated work on many files, with a progress bar and a journal from which it can be continued."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from slowfast.preparation.file_work.isolated import UNEXPECTED, FileResult, run_isolated
from slowfast.preparation.file_work.journal import FileState, Journal, state_of
from slowfast.preparation.file_work.video_facts import VideoFacts, probe_video
from slowfast.progress import Progress

T = TypeVar("T")

# Problems that can disappear while the file stays the same: permissions, memory, the disk, the load of the
# machine, or this program. They are not kept in the journal, so that the next run tries these files again.
_TRANSIENT = frozenset({"crashed", "memory", "not permitted", "timeout", "unreadable", UNEXPECTED})


@dataclass(frozen=True)
class WorkOptions:
    """Options of work on many files.

    Attributes:
        workers: number of processes at a time.
        time_limit: seconds per file.
        journal: file that keeps the results.
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
    is_current: Callable[[str, T | None], bool] = lambda path, value: True,
) -> dict[str, FileResult[T]]:
    """Runs ``task`` for each file without a valid result, and returns all outcomes by path, in order.

    Args:
        kind: the dataclass that ``task`` returns; JSON can represent its fields.
        settings: all values that results depend on beside the file.
        is_current: returns False for a path and an earlier result that is outdated.
    """
    outcomes: dict[str, FileResult[T]] = {}
    with Journal(options.journal, settings) as journal:
        for path in paths:
            known = _restore(path, journal.find(path), kind)
            if known is not None and is_current(path, known.value):
                outcomes[path] = known
        left = [path for path in paths if path not in outcomes]
        problems = sum(1 for outcome in outcomes.values() if outcome.problem)
        states: dict[str, FileState] = {}
        with Progress(len(paths), description, "video", done=len(outcomes)) as progress:
            starting = _note_states(left, states)
            results = run_isolated(task, starting, workers=options.workers, time_limit=options.time_limit)
            for outcome in results:
                outcomes[outcome.path] = outcome
                if outcome.problem not in _TRANSIENT:
                    journal.add(outcome.path, states[outcome.path], asdict(outcome))
                problems += bool(outcome.problem)
                progress.update(1, failed=problems)
    return {path: outcomes[path] for path in paths}


def _restore(path: str, entry: Any, kind: type[T]) -> FileResult[T] | None:
    """Returns the outcome of an entry of the journal; None without one, and for a damaged or outdated one."""
    try:
        value = None if entry["value"] is None else kind(**entry["value"])
        # A field that the entry lacks would have its default.
        is_complete = value is None or vars(value) == entry["value"]
        return FileResult(path, value, entry["problem"], entry["detail"]) if is_complete else None
    except (KeyError, TypeError):
        return None


def _note_states(paths: Iterable[str], states: dict[str, FileState]) -> Iterator[str]:
    """Yields the paths; the state of each file is noted just before the work on it begins."""
    for path in paths:
        states[path] = state_of(path)
        yield path


def survey(
    paths: Sequence[str], options: WorkOptions, *, decode: bool, with_hash: bool, description: str
) -> list[VideoFacts]:
    """Returns the properties of each file; a file that cannot be read has a problem only."""
    outcomes = work_through(
        paths,
        partial(probe_video, decode=decode, with_hash=with_hash),
        VideoFacts,
        options,
        description=description,
        settings={"decode": decode, "with_hash": with_hash},
        is_current=lambda path, facts: facts is None or facts.path == path,
    )
    return [
        outcome.value or VideoFacts(path, problem=outcome.problem, detail=outcome.detail)
        for path, outcome in outcomes.items()
    ]
