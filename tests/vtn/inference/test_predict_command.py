"""Prediction of one video by the command line, and its mistakes."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from slowfast.errors import ModelError
from slowfast.features.storage import FeatureFile
from slowfast.models.frame_encoder import FrameEncoder
from tests.support.inference.command import ctrl_c_at, exit_status
from tests.support.inference.video import VIEW
from tests.support.tiny_models import CLASSES, FEATURE_DIM, TINY, tiny
from vtn import score_video
from vtn.cli.predict import main
from vtn.inference.extract import extract_video_features
from vtn.inference.prediction import Prediction
from vtn.predictor import single_video


class TestCommandLine:
    @pytest.fixture
    def arguments(self, video_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
        """Returns arguments with a configuration, weights and class names of the tiny model."""
        folder = tmp_path_factory.mktemp("model")
        torch.save({"model_state": tiny().state_dict()}, folder / "weights.pyth")
        (folder / "classes.json").write_text(json.dumps({f"class {k}": k for k in range(CLASSES)}))
        encoder = {
            "HIDDEN_DIM": TINY["hidden_dim"],
            "NUM_HIDDEN_LAYERS": TINY["num_layers"],
            "NUM_ATTENTION_HEADS": TINY["num_heads"],
            "INTERMEDIATE_SIZE": TINY["intermediate_size"],
            "ATTENTION_WINDOW": [TINY["attention_window"]],
        }
        backbone = {
            "NAME": "shallow_conv",
            "PRETRAINED": False,
            "CHUNK_FRAMES": 8,
            "ARGS": TINY["backbone_args"],
        }
        config = {
            "MODEL": {"MODEL_NAME": "VTN", "NUM_CLASSES": CLASSES},
            "VTN": {"BACKBONE": backbone, "LONGFORMER": encoder, "HEAD": {"MLP_DIM": TINY["mlp_dim"]}},
            "DATA": {
                "TRAIN_JITTER_SCALES": [16, 20],
                "TRAIN_CROP_SIZE": 16,
                "TEST_CROP_SIZE": 16,
                "TARGET_FPS": 5,
                "SAMPLING_RATE": 1,
            },
            "TRAIN": {"EVAL_FULL_VIDEO": True, "EVAL_NUM_FRAMES": 0},
            "TEST": {"NUM_ENSEMBLE_VIEWS": 1, "NUM_SPATIAL_CROPS": 1},
            "TENSORBOARD": {"CLASS_NAMES_PATH": str(folder / "classes.json")},
        }
        (folder / "model.yaml").write_text(yaml.safe_dump(config))
        return [str(video_path), f"--cfg={folder / 'model.yaml'}", f"--checkpoint={folder / 'weights.pyth'}"]

    def test_a_file_has_the_scores_of_its_features(
        self, arguments: list[str], video_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = ["OUTPUT_DIR", str(tmp_path)]
        scores = tmp_path / "scores.json"
        assert main([*arguments, "--window=2", "--stride=1", f"--output={scores}", "--top=3", *output]) == 0
        (read,) = json.loads(scores.read_text())["videos"]
        expected = score_video(
            tiny(),
            extract_video_features(tiny(), video_path, VIEW, tmp_path / "other.npy"),
            head_act="softmax",
        )
        np.testing.assert_allclose(read["scores"], expected, atol=1e-4)
        assert read["frames"] == 36
        assert [window["start"] for window in read["windows"]] == [0, 1, 2, 3, 4, 5, 6]
        assert read["windows"][-1]["end"] == pytest.approx(7.2)
        best = int(expected.argmax())
        assert read["top"][0] == {"class": f"class {best}", "score": read["scores"][best]}
        shown, log = capsys.readouterr()
        first = f"{video_path}: 0:00:07, 36 frames scored\n"
        assert shown.startswith(f"{first}   1. class {best}  {expected.max():.3f}")
        assert "over time" in shown
        assert shown.endswith(f"all scores: {scores}\n")
        (features,) = (tmp_path / "features").glob("video-*.npy")
        assert f"features of the frames are kept in {features}" in log

    def test_a_name_that_is_not_utf8(
        self, arguments: list[str], video_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        odd = tmp_path / os.fsdecode(b"b\xff.mp4")
        odd.write_bytes(video_path.read_bytes())
        scores = tmp_path / "scores.json"
        rest = [*arguments[1:], f"--output={scores}", "OUTPUT_DIR", str(tmp_path)]
        assert main([str(odd), *rest]) == 0
        assert "b\\udcff.mp4: 0:00:07, 36 frames scored" in capsys.readouterr().out
        assert b"/b\xff.mp4" in scores.read_bytes()

    def test_a_table_is_written_from_existing_features(
        self, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table, features = tmp_path / "scores.csv", f"--features={tmp_path / 'f.npy'}"
        assert main([*arguments, features]) == 0
        made = (tmp_path / "f.npy").stat().st_mtime_ns
        with monkeypatch.context() as patch:
            patch.setattr(FrameEncoder, "encode", lambda *_: pytest.fail("a frame is encoded again"))
            assert main([*arguments, features, "--window=4", f"--output={table}"]) == 0
        assert np.load(tmp_path / "f.npy").shape == (36, FEATURE_DIM)
        assert (tmp_path / "f.npy").stat().st_mtime_ns >= made
        rows = [line.split(",") for line in table.read_text().splitlines()]
        assert rows[0] == ["video", "start", "end", "error", *(f"class {k}" for k in range(CLASSES))]
        assert [row[1:3] for row in rows[1:]] == [["0.000", "7.200"], ["0.000", "4.000"], ["4.000", "7.200"]]

    def test_a_video_with_frames_that_cannot_be_decoded(
        self, arguments: list[str], damaged_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        scores = tmp_path / "scores.json"
        rest = [*arguments[1:], "--window=1", f"--output={scores}", "OUTPUT_DIR", str(tmp_path)]
        assert main([str(damaged_video), *rest]) == 0
        shown = capsys.readouterr().out
        assert "22 frames scored, 14 could not be decoded" in shown
        assert "0:00:02 to 0:00:04  no frame could be decoded" in shown
        (written,) = json.loads(scores.read_text())["videos"]
        assert written["undecodable_frames"] == 14
        assert [window["scores"] is None for window in written["windows"][:5]] == [0, 0, 1, 1, 0]

    def test_ctrl_c_reports_the_kept_features(
        self, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        features = f"--features={tmp_path / 'f.npy'}"
        with ctrl_c_at(FrameEncoder, "encode"):
            assert main([*arguments, features]) == 130
        assert "stopped by Ctrl-C: 8 of 36 frames are in" in capsys.readouterr().err
        assert main([*arguments, features]) == 0
        assert "36 frames scored" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("changes", "status", "message"),
        [
            (["--stride=1"], 2, "--stride: needs --window"),
            (["--fps=0"], 2, "0: must be above 0"),
            (["--output=scores.txt"], 2, "must end in .json or .csv"),
            (
                ["--output=a/video.1.json", "--features=a/video.1"],
                2,
                "--output a/video.1.json: is the description of --features",
            ),
            (
                ["--output=video.json", "--features=video.npy"],
                2,
                "--output video.json: is the description of --features",
            ),
            (["MODEL.NUM_CLASSES", "0"], 2, "MODEL.NUM_CLASSES (override) = 0"),
            (["--checkpoint=missing.pyth"], 1, "no such checkpoint"),
        ],
    )
    def test_mistakes_are_reported(
        self,
        arguments: list[str],
        changes: list[str],
        status: int,
        message: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert exit_status(main, [*arguments, *changes]) == status
        assert message in capsys.readouterr().err

    @pytest.mark.parametrize("option", ["--features={}/f.npy", "--output={}/scores.csv"])
    def test_a_file_within_a_file_is_refused(
        self, arguments: list[str], option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").touch()
        assert exit_status(main, [*arguments, option.format(tmp_path / "file")]) == 2
        assert f"{tmp_path / 'file'} is not a folder" in capsys.readouterr().err

    def test_a_folder_that_cannot_be_written_is_reported(
        self, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").touch()
        assert main([*arguments, "OUTPUT_DIR", str(tmp_path / "file")]) == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert re.search(rf"{tmp_path / 'file'}.*: cannot be used .*choose another file", last)

    @pytest.mark.parametrize("written", ["append", "write"])
    def test_a_full_disk_is_reported_with_the_file(
        self,
        arguments: list[str],
        written: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """The error of the system for a full disk does not contain the file."""

        def fail(*_: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(FeatureFile if written == "append" else Prediction, written, fail)
        features, scores = tmp_path / "f.npy", tmp_path / "scores.csv"
        assert main([*arguments, f"--features={features}", f"--output={scores}"]) == 1
        last = capsys.readouterr().err.splitlines()[-1]
        named = features if written == "append" else scores
        assert f": {named}: cannot be used (No space left on device); make room" in last

    def test_num_gpus_0_computes_on_the_cpu_and_a_full_gpu_names_it(
        self,
        arguments: list[str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        arguments = [*arguments, f"--features={tmp_path / 'f.npy'}"]

        def full(*_: Any) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

        used: list[torch.device] = []
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_: torch.device("meta"))
        monkeypatch.setattr(single_video, "use_device", used.append)
        with monkeypatch.context() as patch:
            patch.setattr(FrameEncoder, "encode", full)
            assert main([*arguments, "NUM_GPUS", "0"]) == 1
        assert "is full; any of these needs less: VTN.BACKBONE.CHUNK" in capsys.readouterr().err
        monkeypatch.setattr(single_video, "build_frame_view", lambda cfg, model, fps: _raise_device(model))
        monkeypatch.setattr(single_video, "choose_encoding", lambda *_: None)
        assert main([*arguments, "NUM_GPUS", "1"]) == 1
        assert "the model is on meta" in capsys.readouterr().err
        assert used == [torch.device("cpu"), torch.device("meta", 0)]


def _raise_device(model: torch.nn.Module) -> None:
    raise ModelError(f"the model is on {next(model.parameters()).device}")
