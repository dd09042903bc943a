"""The sections about classes, calibration and mistakes, for few classes and for hundreds.

V videos, K classes.
"""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import precision_recall_fscore_support

from slowfast.engine.prediction_file import Predictions, save_predictions
from slowfast.engine.testing.order_report import ExchangedPair, OrderAccuracy, OrderReport
from slowfast.visualization.predictions_report import write_predictions_report
from slowfast.visualization.report import Report, Result, Table, render_report
from slowfast.visualization.sections.calibration import Calibration, measure_calibration, reliability_chart
from slowfast.visualization.sections.class_metrics import MAX_MATRIX_CLASSES, class_rows, confusion_image
from slowfast.visualization.sections.mistakes import surest_mistakes, top_confusions
from tests.support.pages.predictions import make_predictions
from tests.support.videos import write_video


def random_predictions(V: int, K: int) -> Predictions:
    """Returns predictions that are right for about half of the videos; class K − 1 has no videos."""
    rng = np.random.default_rng(V)
    labels = rng.integers(0, K - 1, V)
    logits = rng.normal(size=(V, K))
    logits[np.arange(V), labels] += 2.0 + np.log(K) / 2
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return make_predictions(scores, labels, [f"class <{k}>" for k in range(K)])


def test_metrics_per_class_are_those_of_scikit_learn() -> None:
    predictions = random_predictions(200, 6)
    rows = class_rows(predictions)
    assert [row.name for row in rows] == predictions.class_names
    expected = precision_recall_fscore_support(
        predictions.labels, predictions.predicted, labels=range(6), zero_division=0
    )
    for row, precision, recall, f1, videos in zip(
        rows[:5], *(values[:5] for values in expected), strict=True
    ):
        assert (row.precision, row.recall, row.f1) == pytest.approx((100 * precision, 100 * recall, 100 * f1))
        assert row.videos == videos
    assert (rows[5].videos, rows[5].recall, rows[5].f1) == (0, None, None)


def test_a_class_that_is_never_predicted_has_no_precision() -> None:
    predictions = random_predictions(50, 4)
    scores = predictions.scores.copy()
    scores[:, 0] = 0
    never = class_rows(replace(predictions, scores=scores))[0]
    assert (never.precision, never.recall, never.f1) == (None, 0.0, None)


def test_many_classes_are_sorted_and_have_an_image() -> None:
    predictions = random_predictions(4000, 400)
    rows = class_rows(predictions, [predictions])
    known = [row.f1 for row in rows if row.f1 is not None]
    assert known == sorted(known)
    assert rows[-1].videos == 0
    assert all(row.others == (row.recall,) for row in rows)
    encoded = confusion_image(predictions).removeprefix("data:image/png;base64,")
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
    assert image.shape == (1200, 1200, 4)
    cells = image[1::3, 1::3, 3].astype(float) / 255  # one pixel of each cell
    confusion = predictions.confusion
    fractions = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    np.testing.assert_allclose(cells, np.sqrt(fractions), atol=1 / 255)


def test_the_expected_calibration_error_is_its_definition() -> None:
    predictions = random_predictions(300, 5)
    found = measure_calibration(predictions, 15)
    assert found is not None
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = [
            (float(row.max()), int(row.argmax()) == label)
            for row, label in zip(predictions.scores, predictions.labels, strict=True)
            if low < row.max() <= low + 1 / 15
        ]
        if inside:
            confidence, right = np.mean(inside, axis=0)
            expected += len(inside) / 300 * abs(right - confidence)
    assert found.ece == pytest.approx(expected)
    assert found.counts.sum() == 300
    assert found.mean_confidence == pytest.approx(predictions.scores.max(1).mean(), rel=1e-5)


def test_a_score_at_an_edge_belongs_to_the_bin_below_it() -> None:
    scores = [[0.5, 0.5, 0], [0.75, 0.25, 0], [1, 0, 0]]
    found = measure_calibration(make_predictions(scores, [0, 1, 2], "abc"), 4)
    assert found is not None
    assert found.counts.tolist() == [0, 1, 1, 1]


def test_a_sure_and_right_model_is_calibrated_and_logits_are_not_scores() -> None:
    predictions = random_predictions(40, 3)
    sure = np.eye(3, dtype=np.float32)[predictions.labels]
    found = measure_calibration(replace(predictions, scores=sure))
    assert found is not None
    assert found.ece == 0
    for scores in (9 * sure, 5 * sure - 4):  # above 1, and below 0
        assert measure_calibration(replace(predictions, scores=scores)) is None


def test_bars_of_one_kind_leave_the_chart_its_height() -> None:
    """An empty second plot squeezed the chart of a small test, all bars of which are pale, to a strip."""
    halves = np.array([0.25, 0.75])
    chart = reliability_chart(Calibration(np.linspace(0, 1, 3), np.array([4, 3]), halves, halves), "test")
    bottom, top = re.findall(r"<path d=\"M \S+ (\S+) \nL \S+ \S+ \nL \S+ (\S+) ", chart)[
        1
    ]  # of the accuracies
    assert float(bottom) - float(top) > 150


def test_bars_of_few_videos_are_pale(tmp_path: Path) -> None:
    halves = np.array([0.2, 0.4, 0.6, 0.8])
    found = Calibration(np.linspace(0, 1, 5), np.array([0, 9, 10, 200]), halves, halves)
    pale = re.findall(r"var\(--c0\); opacity: 0\.\d", reliability_chart(found, "test"))
    assert len(pale) == 1, "of three bins with videos one has fewer than 10"
    write_predictions_report(tmp_path / "page.html", {"test": random_predictions(40, 3)})
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Pale bars are of fewer than 10 videos" in " ".join(page.split())


def test_confusions_and_mistakes_are_ordered(tmp_path: Path) -> None:
    labels = [0, 0, 0, 1, 1, 2]
    guesses = [1, 1, 0, 0, 1, 2]
    sure = [0.6, 0.9, 0.8, 0.7, 0.9, 0.9]
    scores = np.full((6, 3), 0.02, np.float32)
    scores[np.arange(6), guesses] = sure
    scores[1, 0] = 0.05
    video = write_video(tmp_path / "one.mp4", 12)
    paths = [str(tmp_path / "missing.mp4"), str(video), *["x.mp4"] * 4]
    predictions = make_predictions(scores, labels, ["a", "b", "c"], paths=paths)
    first, second = top_confusions(predictions, strips=2)
    assert (first.true, first.predicted, first.count, first.fraction) == ("a", "b", 2, pytest.approx(2 / 3))
    assert (second.true, second.predicted, second.count) == ("b", "a", 1)
    # The surest mistake comes first; a video that is missing has no filmstrip.
    assert [strip.video for strip in first.strips] == [f"{tmp_path.name}/one.mp4"]
    assert second.strips == ()
    mistakes = surest_mistakes(predictions)
    assert [mistake.predicted_score for mistake in mistakes] == pytest.approx([0.9, 0.7, 0.6])
    assert mistakes[0].true_score == pytest.approx(0.05)


def test_the_report_of_400_classes_stays_small(tmp_path: Path) -> None:
    predictions = random_predictions(4000, 400)
    path = tmp_path / "report.html"
    write_predictions_report(path, {"test": predictions})
    page = path.read_text(encoding="utf-8")
    assert len(page) < 600_000
    assert "the lowest F1 first" in page
    assert page.count("<td") < 4000  # no table of 400 × 400 cells
    assert "class &lt;0&gt;" in page


def test_order_and_further_tables_are_shown() -> None:
    predictions = random_predictions(40, 3)
    per_class = np.array([1.0, 0.5, np.nan])
    order = OrderReport(
        ("right", "left", "still"),
        40,
        (OrderAccuracy("given", 90.0, per_class), OrderAccuracy("reversed", 12.5, per_class / 4)),
        (ExchangedPair(0, 1, 0.75, 1.0),),
    )
    table = Table("Faithfulness", "A note.", "Areas", ("ranking", "deletion"), [("occlusion", "0.125")])
    page = render_report(Report("T", "S", [Result("test", predictions)], order=order, tables=[table]))
    assert "12.5" in page
    assert re.search(r"<strong>right</strong> and\s+<strong>left</strong>, 75 % and\s+100 %", page)
    assert "A note." in page
    assert "0.125" in page
    few = render_report(Report("T", "S", [Result("test", predictions)]))
    assert "order of frames matter" not in few
    assert len(class_rows(predictions)) <= MAX_MATRIX_CLASSES
    assert "Confusion matrix of “test”" in few


def test_the_command_writes_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from slowfast.cli.analyze import main

    file = tmp_path / "predictions.npz"
    save_predictions(file, random_predictions(40, 3))
    assert main(["predictions", str(file), "--report", str(tmp_path / "page.html")]) == 0
    assert "Surest wrong predictions" in (tmp_path / "page.html").read_text(encoding="utf-8")
    both = ["predictions", str(file), str(file), "--report", str(tmp_path / "both.html")]
    assert main(both) == 0
    assert "description<" not in (tmp_path / "both.html").read_text(encoding="utf-8")
    assert "fused" in (tmp_path / "both.html").read_text(encoding="utf-8")


def test_metrics_that_one_test_lacks_leave_their_cells_empty() -> None:
    """The test of one class has no AUROC; that of the second test stood in a column without a title."""
    names = ["a", "b"]
    one_class = make_predictions([[0.9, 0.1], [0.2, 0.8]], [0, 0], names)
    both = make_predictions([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1], names)
    page = render_report(Report("T", "S", [Result("first", one_class), Result("second", both)]))
    table = page[page.index("Metrics in which all classes count alike, with") :]
    head, first, second = table[: table.index("</table>")].split("<tr>")[1:]
    assert re.findall(r">([^<>\n]+)</th>", head) == ["evaluation", "balanced accuracy", "macro-F1", "AUROC"]
    assert first.count("<td>") == second.count("<td>") == 3
    assert first.count("<td>–</td>") == 1
