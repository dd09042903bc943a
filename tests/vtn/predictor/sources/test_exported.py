"""Exported files as sources of a predictor: the results of the weights that they come from."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from slowfast.errors import AnnotationError, CheckpointError, DataError, InputError, NotFiniteError
from tests.support.tiny_models import publish_tiny
from tests.support.videos import write_csv
from vtn import Predictor
from vtn.cli.main import main
from vtn.exported.model import load_exported
from vtn.inference.split import read_split


def good_paths(videos: Path) -> list[str]:
    return [str(path) for path in sorted(videos.glob("[0-9]*.mp4"))]


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a smaller model than elsewhere, since exports take long."""
    backbone = ("VTN.BACKBONE.NAME", "shallow_conv", "VTN.BACKBONE.ARGS", {"image_size": 32, "width": 4})
    encoder = ("VTN.LONGFORMER.NUM_HIDDEN_LAYERS", 1, "VTN.LONGFORMER.ATTENTION_WINDOW", [4])
    folder = tmp_path_factory.mktemp("published")
    return publish_tiny(folder, *backbone, *encoder, "TRAIN.EVAL_STREAM_FRAMES", 32)


@pytest.fixture(scope="session")
def exported(published: Path, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the command writes: backbone and encoder, and for all ``one.onnx`` and its report.

    The report has the accuracies on a list whose labels are the predictions, except that of the last video.
    """
    folder = tmp_path_factory.mktemp("exported")
    predictor = Predictor(published, device="cpu")
    *right, wrong = [(path, predictor(path).top(1)[0].index) for path in good_paths(videos)]
    write_csv(folder / "test.csv", [*right, (wrong[0], (wrong[1] + 1) % 3)])
    measured = ["--int8", "--split", str(folder / "test.csv"), "--json", str(folder / "report.json")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vtn.exporting.comparison._SECONDS", 0.01)
        common = ["export", str(published), "--lengths", "1", "16"]
        assert main([*common, "--parts", "backbone", "encoder", "--output", str(folder)]) == 0
        assert main([*common, "--output", str(folder / "one.onnx"), *measured]) == 0
    return folder


@pytest.mark.parametrize("source", ["", "encoder.onnx", "backbone.onnx", "one.onnx"])
def test_results_are_those_of_the_weights(source: str, exported: Path, published: Path, videos: Path) -> None:
    """Also of the video of 70 frames, which the encoder gets as features chunk by chunk."""
    expected = list(Predictor(published, device="cpu").stream(good_paths(videos)))
    predictor = Predictor(exported / source)
    assert predictor.class_names == ["left", "right", "still"]
    for video, result in zip(expected, predictor.stream(good_paths(videos)), strict=True):
        assert result.error == ""
        assert result.num_frames == video.num_frames
        assert np.abs(result.scores - video.scores).max() < 1e-4


def test_a_copy_for_another_process_gives_the_same_scores(exported: Path, videos: Path) -> None:
    predictor = Predictor(exported)
    copy = pickle.loads(pickle.dumps(predictor))  # noqa: S301 (bytes of this test)
    assert np.array_equal(copy(videos / "12.mp4").scores, predictor(videos / "12.mp4").scores)


def test_views_are_merged_as_for_the_weights(exported: Path, published: Path, videos: Path) -> None:
    path = good_paths(videos)[-1]
    expected = Predictor(published, device="cpu", views=(3, 3))(path)
    assert np.abs(Predictor(exported, views=(3, 3))(path).scores - expected.scores).max() < 1e-4


def test_windows_are_scored_from_features(exported: Path, published: Path, videos: Path) -> None:
    path = good_paths(videos)[-1]
    expected = Predictor(published, device="cpu")(path, window_seconds=2.0).timeline
    found = Predictor(exported)(path, window_seconds=2.0).timeline
    assert expected is not None
    assert found is not None
    assert np.abs(found.scores - expected.scores).max() < 1e-4
    with pytest.raises(InputError, match=r"one\.onnx is one file.*--parts backbone encoder"):
        Predictor(exported / "one.onnx")(path, window_seconds=2.0)


def test_overviews_need_features(exported: Path, published: Path, videos: Path) -> None:
    path = good_paths(videos)[-1]
    expected, found = (Predictor(source, device="cpu").overview(path) for source in (published, exported))
    assert np.abs(found.prediction.scores - expected.prediction.scores).max() < 1e-4
    assert expected.prediction.timeline is not None
    assert found.prediction.timeline is not None
    assert np.abs(found.prediction.timeline.scores - expected.prediction.timeline.scores).max() < 1e-4
    assert expected.attention is not None
    assert found.attention is None
    assert len(found.shown) == len(found.jpegs) == 6
    assert found.shown[[0, -1]].tolist() == [0, len(found.seconds) - 1]  # evenly spaced
    with pytest.raises(InputError, match=r"one file.*--parts backbone encoder"):
        Predictor(exported / "one.onnx").check_overview()
    with pytest.raises(InputError, match="views: must be None"):
        Predictor(published, device="cpu", views=(2, 1)).check_overview()


def test_explanations_need_the_weights(exported: Path, videos: Path) -> None:
    predictor = Predictor(exported)
    message = r"^an exported model cannot be explained.*give the published folder or the checkpoint"
    with pytest.raises(InputError, match=message):
        predictor.explain(good_paths(videos)[-1])
    with pytest.raises(InputError, match=message):
        next(predictor.measure_faithfulness(good_paths(videos)))


def test_a_video_that_one_file_cannot_take_does_not_end_the_work(
    exported: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vtn.exported.model._MOST_PIXELS", 32 * 32 * 16)
    results = list(Predictor(exported / "one.onnx").stream(good_paths(videos)))
    assert [bool(result.error) for result in results] == [False, False, False, False, True, True]
    assert "takes at most 16 frames" in results[-1].error


@pytest.mark.parametrize(("source", "inputs"), [("one.onnx", "frames"), ("", "features")])
def test_frames_that_are_not_finite_are_reported(exported: Path, source: str, inputs: str) -> None:
    frames = torch.zeros(2, 3, 4, 32, 32)
    frames[1, :, 2] = float("nan")
    with pytest.raises(NotFiniteError, match=f"{inputs} are NaN .* in 1 frames, first in frame 2 of clip 1"):
        load_exported(exported / source)(frames)


def test_options_of_weights_are_refused(exported: Path) -> None:
    with pytest.raises(InputError, match="takes no --cfg, --imports or --backbone"):
        Predictor(exported, config="VIT_B_VTN")
    with pytest.raises(InputError, match="must be float32 for an exported model"):
        Predictor(exported, precision="bfloat16")
    with pytest.raises(InputError, match="must be cpu for an exported model"):
        Predictor(exported, device="cuda:0")


def test_a_folder_predicts_and_is_not_exported_again(
    exported: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder predicts, and is not exported again."""
    path = good_paths(videos)[2]
    assert main(["predict", str(exported), path, "--json", str(tmp_path / "scores.json")]) == 0
    (entry,) = json.loads((tmp_path / "scores.json").read_text())["videos"]
    assert entry["video"] == path
    assert main(["export", str(exported), "--output", str(tmp_path / "again.onnx")]) != 0
    assert "is exported already" in capsys.readouterr().err


def test_scores_of_eight_bits_are_not_mixed_with_others(
    exported: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rest = [good_paths(videos)[2], "--jsonl", str(tmp_path / "scores.jsonl"), "--resume"]
    assert main(["predict", str(exported / "one.onnx"), *rest]) == 0
    assert main(["predict", str(exported / "one.int8.onnx"), *rest]) == 2
    assert "were made with other settings: weights was" in capsys.readouterr().err


def test_accuracy_of_eight_bits_is_measured(exported: Path) -> None:
    report = json.loads((exported / "report.json").read_text())
    rows = {row["name"]: row for row in report["accuracy"]}
    assert list(rows) == ["eager", "onnx", "int8"]
    assert rows["eager"] == rows["onnx"] | {"name": "eager"}
    assert (rows["eager"]["correct"], rows["eager"]["total"]) == (5, 6)


def test_relative_paths_of_a_list_start_at_the_current_folder_or_the_prefix(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lists").mkdir()
    split, name = tmp_path / "lists/test.csv", Path(good_paths(videos)[0]).name
    split.write_text(f"{name} 0\n")
    with pytest.raises(DataError, match=rf"the video .* such as '{name}'; .* set --prefix"):
        read_split(str(split), 3)
    monkeypatch.chdir(videos)
    assert read_split(str(split), 3).paths[0] == name
    assert read_split(str(split), 3, prefix=str(videos)).paths[0] == good_paths(videos)[0]


def test_a_failed_export_leaves_no_folder(published: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "test.csv").write_text(f"{tmp_path}/broken.mp4 0\n")
    options = ["--lengths", "1", "--output", str(tmp_path / "new" / "one.onnx")]
    assert main(["export", str(published), *options, "--split", str(tmp_path / "test.csv")]) != 0
    assert not (tmp_path / "new").exists()


def test_lists_with_wrong_labels_are_refused(published: Path, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("a.mp4 0\nb.mp4 left\n")
    with pytest.raises(AnnotationError, match=r"line 2: 'b.mp4 left' has a wrong label: .* 0 to 2"):
        read_split(str(tmp_path / "test.csv"), 3)
    (tmp_path / "test.csv").write_text("a.mp4 0,2\n")  # `vtn` has no option for several labels
    with pytest.raises(AnnotationError, match=r"wrong label: .*; a video must have one label here; "):
        read_split(str(tmp_path / "test.csv"), 3)
    (tmp_path / "test.csv").write_text("path label start end\na.mp4 0 1 2\n")
    with pytest.raises(AnnotationError, match="has segments of files"):
        read_split(str(tmp_path / "test.csv"), 3)


def test_a_published_folder_may_also_have_a_file_of_onnx(published: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(published, tmp_path / "published")
    (folder / "model.onnx").touch()
    assert Predictor(folder, device="cpu").class_names == ["left", "right", "still"]


def test_a_folder_of_several_models_is_ambiguous(exported: Path, tmp_path: Path) -> None:
    for name in ("encoder.onnx", "model.onnx"):
        (tmp_path / name).write_bytes((exported / "encoder.onnx").read_bytes())
    with pytest.raises(CheckpointError, match="holds several exported models"):
        Predictor(tmp_path)
