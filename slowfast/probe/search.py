"""The search: which candidates are trained on which folds, and the choice among them.

V videos, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from slowfast.errors import ModelError
from slowfast.log import get_logger
from slowfast.probe.candidate import Candidate
from slowfast.probe.metrics import Metric
from slowfast.probe.tasks import Problem, Runner, Task
from slowfast.probe.training import Trained

logger = get_logger(__name__)

# (number of folds, fraction of all candidates that are trained on further folds after them).
_RUNGS = ((1, 1 / 2), (2, 1 / 3))
# Candidates that are trained with all seeds.
_FINALISTS = 3


@dataclass
class MethodResult:
    """The results of one candidate or baseline.

    Attributes:
        method: a candidate, or the name of a baseline.
        trained: result by (fold, seed).
        metrics: value of the metric by (fold, seed).
    """

    method: Candidate | str
    trained: dict[tuple[int, int], Trained] = field(default_factory=dict)
    metrics: dict[tuple[int, int], float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The family of the candidate, or the name of the baseline."""
        return self.method if isinstance(self.method, str) else self.method.family

    @property
    def setting(self) -> str:
        """The values of the candidate; empty for a baseline."""
        return "" if isinstance(self.method, str) else self.method.describe()

    @property
    def mean(self) -> float:
        """The mean over all folds and seeds so far."""
        return float(np.mean(list(self.metrics.values())))

    def mean_without(self, fold: int) -> float:
        """Returns the mean over the other folds."""
        return float(np.mean([value for (own, _), value in self.metrics.items() if own != fold]))

    def spread(self, axis: int) -> float:
        """Returns the standard deviation over folds (axis 0) or seeds (axis 1); NaN for a single one."""
        numbers = sorted({key[axis] for key in self.metrics})
        means = [np.mean([v for key, v in self.metrics.items() if key[axis] == number]) for number in numbers]
        return float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")

    @property
    def seconds(self) -> float:
        """Mean time of one training."""
        return float(np.mean([trained.seconds for trained in self.trained.values()]))

    def scores(self, problem: Problem, num_folds: int) -> NDArray[np.float32]:
        """Returns the scores (V, K) of all videos by trainings that had not seen them; means over seeds."""
        return _in_order(problem, [self.fold_scores(fold) for fold in range(num_folds)])

    def fold_scores(self, fold: int) -> NDArray[np.float32]:
        """Returns the scores of the videos of a fold, the mean over seeds."""
        return np.mean([t.scores for (own, _), t in self.trained.items() if own == fold], axis=0)


@dataclass(frozen=True)
class SearchResult:
    """All results of a search.

    Attributes:
        baselines: of all folds.
        candidates: of all folds, the best one first.
        stopped: candidates that were trained on the first folds alone.
        num_folds: of the cross-validation.
    """

    baselines: tuple[MethodResult, ...]
    candidates: tuple[MethodResult, ...]
    stopped: tuple[MethodResult, ...]
    num_folds: int

    def families(self) -> dict[str, list[MethodResult]]:
        """Returns the candidates of each family, best first; the family of the best one comes first."""
        families: dict[str, list[MethodResult]] = {}
        for result in self.candidates:
            families.setdefault(result.name, []).append(result)
        return families

    def held_out_scores(self, problem: Problem, family: Sequence[MethodResult]) -> NDArray[np.float32]:
        """Returns scores (V, K) where each fold is scored by the candidate that is best on the other folds.

        The accuracy of the best candidate is too high, since it is the largest of many. Here a fold has no
        part in the choice of the candidate that scores it, except that a candidate may have been stopped
        after the first folds.
        """
        folds = range(self.num_folds)
        chosen = [max(family, key=lambda r: r.mean_without(fold)) for fold in folds]
        return _in_order(problem, [result.fold_scores(fold) for fold, result in enumerate(chosen)])


def _in_order(problem: Problem, scores: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Returns the scores (V, K) of all videos from those of each fold."""
    videos = np.concatenate([problem.division(fold)[1] for fold in range(len(scores))])
    return np.concatenate(scores)[np.argsort(videos)]


def search(
    runner: Runner,
    problem: Problem,
    candidates: Sequence[Candidate],
    baselines: Sequence[str],
    metric: Metric,
    *,
    num_folds: int,
    num_seeds: int,
) -> SearchResult:
    """Fits the baselines, then trains candidates on more and more folds and seeds, fewer each time.

    All candidates are trained on one fold, the better half on a second one, the best third on all folds, the
    best three and the best one of each family with all seeds (successive halving, Jamieson and Talwalkar
    2016, with folds as resource).

    Raises:
        ModelError: where no candidate can be trained.
        Interrupted: after a signal; finished trainings are kept.
    """
    results: dict[Candidate | str, MethodResult] = {}

    def run(methods: Sequence[Candidate | str], folds: range, seeds: range, description: str) -> None:
        tasks = [Task(method, fold, seed) for method in methods for seed in seeds for fold in folds]
        for task, trained in runner.run(tasks, description).items():
            result = results.setdefault(task.method, MethodResult(task.method))
            labels = problem.table.labels.numpy()[problem.division(task.fold)[1]]
            result.trained[task.fold, task.seed] = trained
            result.metrics[task.fold, task.seed] = metric(trained.scores.argmax(axis=1), labels)

    def ranked(methods: Sequence[Candidate], num: int) -> list[Candidate]:
        """Returns the best methods by their mean, those with failed trainings left out."""
        complete = [m for m in methods if m in results and len(results[m].metrics) == num]
        return sorted(complete, key=lambda m: -results[m].mean)

    run(list(baselines), range(num_folds), range(1), "linear baselines")
    kept, done = list(candidates), 0
    for folds, fraction in (*(rung for rung in _RUNGS if rung[0] < num_folds), (num_folds, 1.0)):
        tested = f"fold {folds}" if folds == done + 1 else f"folds {done + 1} to {folds}"
        run(kept, range(done, folds), range(1), f"{len(kept)} candidates, {tested}")
        order = ranked(kept, folds)
        if not order:
            raise ModelError(
                f"no candidate could be trained on {folds} folds; the warnings above name the causes"
            )
        kept = _with_families(order, max(_FINALISTS, round(fraction * len(candidates))))
        done = folds
    finalists = _with_families(order, _FINALISTS)
    if num_seeds > 1:
        description = f"{len(finalists)} candidates, {num_seeds} seeds"
        run(finalists, range(num_folds), range(1, num_seeds), description)
    final = ranked(finalists, num_folds * num_seeds)
    rest = [m for m in order if m not in final]
    return SearchResult(
        baselines=tuple(results[name] for name in baselines if name in results),
        candidates=tuple(results[m] for m in [*final, *rest]),
        stopped=tuple(results[m] for m in candidates if m in results and m not in order),
        num_folds=num_folds,
    )


def _with_families(order: Sequence[Candidate], number: int) -> list[Candidate]:
    """Returns the first ``number`` candidates and the first one of each family."""
    firsts = {candidate.family: candidate for candidate in reversed(order)}.values()
    return [c for i, c in enumerate(order) if i < number or c in firsts]
