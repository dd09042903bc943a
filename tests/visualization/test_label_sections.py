"""The report of videos with several classes each: average precision, label counts, worst classes, JSON.

V videos, K classes.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from slowfast.cli.analyze import main
from slowfast.engine.prediction_file import Predictions, save_predictions
from slowfast.errors import DataError
from slowfast.visualization.filmstrip import STRIP_FRAMES
from slowfast.visualization.predictions_report import write_predictions_report, write_predictions_values
from slowfast.visualization.report import Report, Result, render_report
from slowfast.visualization.sections.label_metrics import label_rows, videos_by_label_count, worst_labels
from tests.support.pages.predictions import make_predictions
from tests.support.videos import write_video


def random_predictions(V: int, K: int, *, seed: int = 0) -> Predictions:
    """Returns predictions of which each video has about two classes; class K − 1 has no videos.

    Scores are rounded, so that several videos have equal ones.
    """
    rng = np.random.default_rng(seed)
    labels = rng.random((V, K)) < min(0.5, 2 / K)
    labels[:, K - 1] = False
    labels[0, : K - 1] = True
    noise = rng.uniform(0.3, 2.5, K)
    scores = 1 / (1 + np.exp(-(3 * labels - 2 + noise * rng.normal(size=(V, K)))))
    names = [f"class <{k}>" for k in range(K)]
    return make_predictions(scores.round(2), labels.astype(np.float32), names)


@pytest.mark.parametrize("K", [3, 20])
def test_average_precision_is_that_of_scikit_learn(K: int) -> None:
    predictions = random_predictions(150, K)
    rows = label_rows(predictions)
    index = {name: k for k, name in enumerate(predictions.class_names)}
    known = rows[:-1]
    for row in known:
        k = index[row.name]
        targets = predictions.labels[:, k] > 0
        expected = average_precision_score(targets, predictions.scores[:, k])
        assert row.average_precision == pytest.approx(100 * expected)
        assert row.videos == targets.sum()
        assert row.fraction == pytest.approx(100 * targets.mean())
    values = [row.average_precision for row in known]
    assert values == sorted(values)
    assert (rows[-1].name, rows[-1].videos, rows[-1].average_precision) == (f"class <{K - 1}>", 0, None)
    macro = average_precision_score(
        predictions.labels[:, : K - 1], predictions.scores[:, : K - 1], average="macro"
    )
    result = Result("test", predictions)
    assert result.value == pytest.approx(100 * macro)
    low, high = result.interval
    assert low < result.value < high


def test_classes_per_video_are_counted() -> None:
    predictions = random_predictions(60, 5)
    counts = dict(videos_by_label_count(predictions))
    per_video = predictions.labels.sum(axis=1).astype(int)
    assert counts == {number: int((per_video == number).sum()) for number in np.unique(per_video)}
    assert sum(counts.values()) == 60


def test_the_worst_classes_show_the_videos_that_lower_their_precision(tmp_path: Path) -> None:
    video = write_video(tmp_path / "shown.mp4", 12)
    labels = np.array([[1, 0, 1], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]], np.float32)
    scores = np.array(
        [[0.9, 0.1, 0.8], [0.2, 0.1, 0.3], [0.6, 0.8, 0.1], [0.1, 0.9, 0.1], [0.3, 0.2, 0.2]], np.float32
    )
    paths = ["a.mp4", str(tmp_path / "missing.mp4"), str(video), "d.mp4", "e.mp4"]
    predictions = make_predictions(scores, labels, ["run", "jump", "swim"], paths=paths)
    # `jump` and `swim` are ranked without a mistake and are left out.
    (worst,) = worst_labels(predictions, strips=1)
    assert worst.row.name == "run"
    (missed,) = worst.missed
    assert (missed.video, missed.rank, missed.labels) == (paths[1], 4, ("run",))
    assert missed.score == pytest.approx(0.2)
    assert missed.strip is None  # the file does not exist
    assert [(example.video, example.rank) for example in worst.mistaken] == [(paths[2], 2), ("e.mp4", 3)]
    first, second = worst.mistaken
    assert first.labels == ("jump",)
    assert second.labels == ()
    assert first.strip is not None
    assert len(first.strip.seconds) == STRIP_FRAMES
    assert second.strip is None


def test_classes_without_names_are_not_bare_numbers() -> None:
    predictions = replace(random_predictions(60, 4), class_names=["0", "1", "jump", "3"])
    page = render_report(Report("", "", [Result("test", predictions)]))
    for name in ("class 0", "class 1", "jump", "class 3"):
        assert f'<th scope="row">{name}</th>' in page
    assert re.search(r"place \d+; <bdi>(class 0|class 1|jump)<", page)
    assert not re.search(r"place \d+; <bdi>\d", page)


def test_the_page_and_the_json_have_the_same_values(tmp_path: Path) -> None:
    predictions = random_predictions(80, 6)
    other = replace(random_predictions(80, 6, seed=1), labels=predictions.labels)
    tests = {"mine": predictions, "theirs": other}
    write_predictions_report(tmp_path / "page.html", tests)
    write_predictions_values(tmp_path / "page.json", tests)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    values = json.loads((tmp_path / "page.json").read_text(encoding="utf-8"))
    assert values["multi_label"] is True
    assert "Mean average precision (mAP) on 80 test videos of 6 classes" in page
    assert "Confusion matrix" not in page
    for test in values["tests"]:
        low, high = test["interval"]
        assert f"{test['map']:.1f} %" in page
        assert f"{low:.1f} – {high:.1f}" in page
    assert "AP, theirs" in page
    for row in values["classes"][:-1]:
        assert f"<span>{row['average_precision']:.1f}</span>" in page
        assert f"<span>{row['others'][0]:.1f}</span>" in page
    assert values["classes"][-1]["average_precision"] is None
    assert "class &lt;0&gt;" in page
    assert sum(values["videos_by_number_of_classes"].values()) == 80
    for worst in values["worst_classes"]:
        for example in (*worst["has_the_class"], *worst["lacks_the_class"]):
            assert f"<span>{example['score']:.3f}</span>" in page
            assert f"place {example['rank']}; " in page


def test_the_command_writes_both_forms_for_one_class_and_for_several(tmp_path: Path) -> None:
    several = random_predictions(40, 4)
    one = replace(several, labels=several.labels.argmax(axis=1))
    for name, predictions in (("several", several), ("one", one)):
        file = tmp_path / f"{name}.npz"
        save_predictions(file, predictions)
        page, values = tmp_path / f"{name}.html", tmp_path / f"{name}.json"
        assert main(["predictions", str(file), "--report", str(page), "--json", str(values)]) == 0
        found = json.loads(values.read_text(encoding="utf-8"))
        assert found["multi_label"] is (name == "several")
        assert len(found["classes"]) == 4
    assert found["tests"][0]["top1_acc"] == pytest.approx(one.top1)
    assert found["surest_mistakes"][0]["predicted_score"] >= found["surest_mistakes"][-1]["predicted_score"]


def test_pages_that_cannot_be_made_are_refused(tmp_path: Path) -> None:
    several = random_predictions(10, 3)
    one = replace(several, labels=several.labels.argmax(axis=1))
    with pytest.raises(DataError, match=r"b: must have one class per video, as a has; write a page for each"):
        write_predictions_report(tmp_path / "p.html", {"a": one, "b": several})
    with pytest.raises(DataError, match="a: must have videos with classes"):
        write_predictions_report(
            tmp_path / "p.html", {"a": replace(several, labels=np.zeros_like(several.labels))}
        )


def test_a_report_of_many_classes_stays_small() -> None:
    page = render_report(Report("T", "S", [Result("test", random_predictions(40, 120))]))
    assert len(page) < 120_000
    assert page.count('<div class="card strip">') == 6
