"""The report of a search: a table, a sentence, JSON, an HTML page, and the chosen configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from slowfast.files import write_text
from slowfast.metrics.accuracy import none_if_nan
from slowfast.metrics.intervals import Interval, jackknife_interval
from slowfast.probe.baselines import MAJORITY
from slowfast.probe.candidate import Candidate
from slowfast.probe.metrics import METRICS, Metric, metric_interval
from slowfast.probe.search import MethodResult, SearchResult
from slowfast.probe.tasks import TEST_LIST, Problem
from slowfast.visualization.charts import line_chart
from slowfast.visualization.page import fill_template
from slowfast.visualization.text_table import align_columns

TABLE, PAGE, CHOSEN = "probe.json", "probe.html", "chosen.yaml"
# Candidates that a table shows.
_MAX_ROWS = 12
# Curves in the chart.
_MAX_CURVES = 4


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: of the baseline or family.
        setting: values of the candidate.
        mean: of the metric over folds and seeds.
        fold_spread, seed_spread: standard deviations over folds and over seeds; None for a single one.
        interval: of the metric over all videos, see ``slowfast.probe.metrics.metric_interval``.
        seconds: mean time of one training.
        test: the metric on the test list; None without one.
    """

    name: str
    setting: str
    mean: float
    fold_spread: float | None
    seed_spread: float | None
    interval: Interval
    seconds: float
    test: Interval | None = None


@dataclass(frozen=True)
class Comparison:
    """A family of models against a baseline.

    Attributes:
        family: such as the name of the model.
        value: metric of the family, each fold scored by the candidate that is best on the other folds.
        baseline: name of the best linear baseline.
        baseline_value: its metric.
        difference: family minus baseline, on the same videos.
        on_test: whether the videos are those of the test list.
    """

    family: str
    value: Interval
    baseline: str
    baseline_value: Interval
    difference: Interval
    on_test: bool = False

    def sentence(self, metric: str) -> str:
        """Returns the conclusion in words."""
        points = 100 * self.difference.value
        span = f"[{100 * self.difference.low:+.1f}, {100 * self.difference.high:+.1f}]"
        if not self.difference.is_known:
            verdict = (
                f"the difference of {points:+.1f} points has no interval, since the videos are too few or "
                f"scored alike: nothing shows that {self.family} is better or worse."
            )
        elif self.difference.low > 0:
            verdict = f"{self.family} beats it by {points:.1f} points {span}."
        elif self.difference.high < 0:
            verdict = f"{self.family} is {-points:.1f} points below it {span}: use the linear classifier."
        else:
            verdict = (
                f"the difference of {points:+.1f} points {span} is within what chance gives with so many "
                f"videos: nothing shows that {self.family} is better or worse."
            )
        place = "On the test list" if self.on_test else "On videos that were not trained on"
        return (
            f"{place}, {self.family} has {metric} {self.value.percent()} % and {self.baseline!r} "
            f"{self.baseline_value.percent()} %; {verdict}"
        )


@dataclass(frozen=True)
class ProbeReport:
    """All that a search has found.

    Attributes:
        metric: name of the metric.
        data: facts about videos, groups, classes and folds, by name.
        rows: baselines first, then candidates, the best one first.
        comparisons: one per family and set of videos.
        curves: (name, training loss of each epoch) of the best candidates.
        trainings: number of trainings since the last start of the search.
        seconds: time since that start.
    """

    metric: str
    data: dict[str, Any]
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    curves: tuple[tuple[str, tuple[float, ...]], ...]
    trainings: int
    seconds: float

    def table(self) -> str:
        """Returns the table as text."""
        has_test = any(row.test for row in self.rows)
        head = ["method", f"{self.metric}, % [95 %]", "mean", "± folds", "± seeds", "s"]
        head += ["test, % [95 %]"] if has_test else []
        lines = [[*head, "setting"]]
        for row in self.rows:
            cells = [row.name, row.interval.percent(), f"{100 * row.mean:.1f}", _points(row.fold_spread)]
            cells += [_points(row.seed_spread), f"{row.seconds:.2g}"]
            cells += [row.test.percent() if row.test else "–"] if has_test else []
            lines.append([*cells, row.setting])
        return "\n".join(align_columns(lines, left=range(len(lines[0]))))

    def sentences(self) -> list[str]:
        """Returns the conclusions in words."""
        sentences = [comparison.sentence(self.metric) for comparison in self.comparisons]
        chance = next((row.interval.value for row in self.rows if row.name == MAJORITY), None)
        if chance is not None and all(
            row.interval.low <= chance for row in self.rows if row.name != MAJORITY
        ):
            sentences.append(
                f"No method is clearly above the {100 * chance:.1f} % of the majority class: these features "
                "hardly show the classes. Use another backbone, several tokens per frame, or more videos."
            )
        return sentences

    def write(self, folder: Path) -> None:
        """Writes the JSON file and the HTML page."""
        content = asdict(self) | {"conclusions": self.sentences()}
        content = json.loads(json.dumps(content), parse_constant=lambda name: None)  # unknown limits: null
        write_text(folder / TABLE, json.dumps(content, indent=2) + "\n")
        chart = Markup(line_chart(self.curves, xlabel="epoch", ylabel="training loss")) if self.curves else ""
        page = fill_template("slowfast.probe", "page.html", report=self, chart=chart, points=_points)
        write_text(folder / PAGE, page)


def build_report(
    result: SearchResult,
    problem: Problem,
    metric_name: str,
    *,
    test_scores: Mapping[Candidate | str, NDArray[np.float32]],
    trainings: int,
    seconds: float,
) -> ProbeReport:
    """Computes the table and the comparisons of a search.

    Args:
        metric_name: a key of ``slowfast.probe.metrics.METRICS``.
        test_scores: scores (test videos, K) of the methods that were also tested on the test list.
    """
    videos, test_videos = problem.division(TEST_LIST)
    metric = METRICS[metric_name]
    evaluated = _Evaluated(problem, videos, metric)
    tested = _Evaluated(problem, test_videos, metric)
    rows = []
    for method in (*result.baselines, *result.candidates[:_MAX_ROWS]):
        scores = test_scores.get(method.method)
        rows.append(
            Row(
                name=method.name,
                setting=method.setting,
                mean=method.mean,
                fold_spread=none_if_nan(method.spread(0)),
                seed_spread=none_if_nan(method.spread(1)),
                interval=evaluated.interval(method.scores(problem, result.num_folds)),
                seconds=method.seconds,
                test=None if scores is None else tested.interval(scores),
            )
        )
    return ProbeReport(
        metric=metric_name,
        data={
            "videos": len(videos),
            "groups": len(set(evaluated.groups)),
            "classes": len(np.unique(evaluated.labels)),
            "folds": result.num_folds,
            "test videos": len(test_videos),
            "candidates": len(result.candidates) + len(result.stopped),
        },
        rows=tuple(rows),
        comparisons=tuple(_comparisons(result, evaluated, tested, test_scores)),
        curves=tuple(_curve(r) for r in result.candidates[:_MAX_CURVES]),
        trainings=trainings,
        seconds=seconds,
    )


@dataclass(frozen=True)
class _Evaluated:
    """A set of videos, the metric on it, and its intervals."""

    problem: Problem
    videos: NDArray[np.int64]
    metric: Metric

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.problem.table.labels.numpy()[self.videos]

    @property
    def groups(self) -> list[str]:
        return [self.problem.groups[video] for video in self.videos]

    def interval(self, scores: NDArray[np.float32]) -> Interval:
        return metric_interval(self.metric, scores.argmax(axis=1), self.labels, self.groups)

    def compare(
        self,
        family: str,
        scores: NDArray[np.float32],
        baseline: str,
        against: NDArray[np.float32],
        *,
        on_test: bool = False,
    ) -> Comparison:
        labels, own, other = self.labels, scores.argmax(axis=1), against.argmax(axis=1)

        def difference(kept: NDArray[np.int64]) -> float:
            return self.metric(own[kept], labels[kept]) - self.metric(other[kept], labels[kept])

        return Comparison(
            family=family,
            value=self.interval(scores),
            baseline=baseline,
            baseline_value=self.interval(against),
            difference=jackknife_interval(difference, self.groups, is_fraction=False),
            on_test=on_test,
        )


def _comparisons(
    result: SearchResult,
    evaluated: _Evaluated,
    tested: _Evaluated,
    test_scores: Mapping[Candidate | str, NDArray[np.float32]],
) -> Iterator[Comparison]:
    """Yields each family against the best linear baseline, on all videos and on the test list."""
    linear = [r for r in result.baselines if r.method != MAJORITY]
    best = max(linear, key=lambda r: r.mean, default=None)
    if best is None:
        return
    against = best.scores(evaluated.problem, result.num_folds)
    for name, family in result.families().items():
        held_out = result.held_out_scores(evaluated.problem, family)
        yield evaluated.compare(name, held_out, best.name, against)
        own, other = (test_scores.get(method) for method in (family[0].method, best.method))
        if own is not None and other is not None:
            yield tested.compare(name, own, best.name, other, on_test=True)


def _curve(result: MethodResult) -> tuple[str, tuple[float, ...]]:
    """Returns the name of a candidate and its mean training loss over folds and seeds."""
    losses = [trained.losses for trained in result.trained.values()]
    epochs = max(len(own) for own in losses)
    means = [float(np.mean([own[epoch] for own in losses if epoch < len(own)])) for epoch in range(epochs)]
    return f"{result.name}: {result.setting}", tuple(means)


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
