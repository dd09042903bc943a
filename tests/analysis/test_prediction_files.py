"""The analysis ``predictions``: results of predictions files, single and fused."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slowfast.analysis.fusion import fuse
from slowfast.cli.analyze import main
from slowfast.engine.prediction_file import Predictions, load_predictions, save_predictions
from slowfast.errors import DataError
from tests.support.pages.predictions import make_predictions

CLASSES = ["archery", "bowling", "cooking"]


def predictions(scores: Any, labels: Any, ids: list[int] | None = None) -> Predictions:
    ids = list(range(len(scores))) if ids is None else ids
    paths = [f"{i}.mp4" for i in ids]
    return make_predictions(scores, labels, CLASSES, video_ids=np.array(ids), paths=paths)


# Each test is correct for the videos for which the other is wrong; the first has higher scores.
FIRST = predictions([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.0, 0.1, 0.9]], [0, 1, 2])
SECOND = predictions([[0.4, 0.6, 0.0], [0.1, 0.9, 0.0], [0.3, 0.4, 0.3]], [0, 1, 2])


def test_fusion_is_the_weighted_mean_of_scores() -> None:
    fused = fuse([FIRST, SECOND], [3, 1])
    np.testing.assert_allclose(fused.scores, (3 * FIRST.scores + SECOND.scores) / 4, rtol=1e-6)
    assert fused.num_views.tolist() == [2, 2, 2]
    assert fuse([FIRST, SECOND]).predicted.tolist() == [0, 1, 2]


def test_fused_segments_keep_their_seconds() -> None:
    segments = np.array([[0, 1], [1, 2], [5, 6.5]])
    fused = fuse([replace(FIRST, segments=segments), SECOND])
    assert [fused.segment(row) for row in range(3)] == [(0, 1), (1, 2), (5, 6.5)]


def test_indices_instead_of_names_are_not_other_classes() -> None:
    """Tests without ``DATA.CLASS_NAMES`` save the indices of the classes."""
    unnamed = replace(SECOND, class_names=["0", "1", "2"])
    assert fuse([FIRST, unnamed]).class_names == CLASSES
    assert fuse([unnamed, FIRST]).class_names == CLASSES


def test_fusion_has_the_videos_that_all_tests_have() -> None:
    incomplete = predictions(SECOND.scores[[2, 0]], [2, 0], ids=[2, 0])
    fused = fuse([FIRST, incomplete])
    assert fused.video_ids.tolist() == [0, 2]
    np.testing.assert_allclose(fused.scores, (FIRST.scores[[0, 2]] + SECOND.scores[[0, 2]]) / 2)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (predictions(SECOND.scores, [0, 1, 1]), "different labels for the same videos"),
        (predictions(SECOND.scores, [0, 1, 2], ids=[7, 8, 9]), "no common video"),
        (predictions(SECOND.scores[:, :2], [0, 1, 1]), "3 and 2 classes"),
        (
            replace(SECOND, class_names=["archery", "cooking", "bowling"]),
            "class 1 is 'bowling' in one and 'cooking' in another",
        ),
    ],
)
def test_predictions_that_do_not_fit_together_are_not_fused(other: Predictions, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fuse([FIRST, other])


def test_the_command_prints_results_and_writes_the_requested_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(tmp_path / name) for name in ("first.npz", "second.npz")]
    for file, test in zip(files, (FIRST, SECOND), strict=True):
        save_predictions(file, test)
    fused, confusion = tmp_path / "fused.npz", tmp_path / "confusion.csv"
    assert main(["predictions", *files, "--output", str(fused)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "first.npz: top-1 66.67 %" in lines[0]
    assert "second.npz: top-1 33.33 %" in lines[1]
    assert lines[2] == (
        "fused: top-1 100.00 % over 3 videos; top-1 100.0 [43.8, 100.0] %, balanced "
        "accuracy 100.0 [–] %, macro-F1 100.0 [–] %; 95 % intervals (of top-1 Wilson's, else by the "
        "jackknife) over videos; [–]: too few videos, or mistakes, for an interval"
    )
    assert load_predictions(fused).predicted.tolist() == [0, 1, 2]
    assert lines[-2:] == [str(fused), str(tmp_path / "fused.csv")]

    assert main(["predictions", files[1], "--confusion", str(confusion), "--worst", "2"]) == 0
    output = capsys.readouterr().out
    assert "archery      0.0 %  of 1" in output
    assert "archery predicted as bowling     1 time" in output
    assert output.splitlines()[-1] == str(confusion)
    assert list(csv.reader(confusion.open()))[1] == ["archery", "0", "1", "0"]
    assert main(["predictions", files[1], "--confusion", str(tmp_path / "confusion.png")]) == 0
    assert (tmp_path / "confusion.png").read_bytes()[1:4] == b"PNG"


def test_weights_that_do_not_fit_the_files_are_wrong_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predictions", "a.npz", "b.npz", "--weights", "1"]) == 2
    assert "--weights: must be 2 numbers, one per predictions file" in capsys.readouterr().err
    for option in ("--weights=1", "--output=c.npz"):
        assert main(["predictions", "a.npz", option]) == 2
        assert "apply to fusion only; give several predictions files" in capsys.readouterr().err


def test_a_path_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    save_predictions(tmp_path / "p.npz", replace(FIRST, paths=[name, "1.mp4", "2.mp4"]))
    assert load_predictions(tmp_path / "p.npz").paths[0] == name
    assert b"\n0,caf\xe9.mp4,archery," in (tmp_path / "p.csv").read_bytes().replace(b"\r", b"")


def test_videos_with_several_classes_have_average_precision_and_no_confusion_matrix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "multi.npz")
    save_predictions(file, predictions(FIRST.scores, np.eye(3, dtype=np.float32)))
    assert main(["predictions", file]) == 0
    output = capsys.readouterr().out
    assert "mAP 1.0000 over 3 videos" in output
    assert "archery    100.0 %  of 1" in output
    assert main(["predictions", file, "--confusion", str(tmp_path / "c.csv")]) == 1
    assert "a confusion matrix requires one class per video" in capsys.readouterr().err


def test_a_missing_file_is_named_once(tmp_path: Path) -> None:
    path = tmp_path / "none.npz"
    with pytest.raises(DataError, match=r"none\.npz cannot be read .*: No such file or directory$"):
        load_predictions(path)


def test_a_table_of_predictions_is_not_the_file_that_is_read(tmp_path: Path) -> None:
    table = tmp_path / "results.csv"
    table.write_text("video_id,path\n")
    with pytest.raises(DataError, match=r"results\.csv cannot be read .*: its name must end in \.npz$"):
        load_predictions(table)
    table.with_suffix(".npz").touch()
    with pytest.raises(DataError, match=r"; give .*results\.npz, which lies beside it"):
        load_predictions(table)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paths": ["0.mp4"]}, "paths has 1 rows, but scores has 3"),
        ({"groups": ("a", "b")}, "groups has 2 rows, but scores has 3"),
        ({"labels": np.array([0, 1, 3])}, "labels must be whole numbers from 0 to 2"),
        ({"labels": np.array([0.0, 1.0, 2.0])}, "labels must be whole numbers"),
        ({"labels": np.zeros((3, 2))}, r"labels has shape \(3, 2\), but scores has \(3, 3\)"),
        ({"scores": np.full((3, 3), np.nan)}, "scores has values that are not a number"),
        ({"class_names": ["archery"]}, "class_names has 1 names for 3 classes"),
        ({"meta": [1]}, "meta must be an object"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    save_predictions(tmp_path / "p.npz", FIRST)
    with np.load(tmp_path / "p.npz") as arrays:
        values = dict(arrays)
    new = {name: json.dumps(value) if name == "meta" else np.array(value) for name, value in changes.items()}
    np.savez(tmp_path / "p.npz", **{**values, **new})
    with pytest.raises(DataError, match=message):
        load_predictions(tmp_path / "p.npz")
