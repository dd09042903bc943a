"""Prediction of one video: extraction that can be interrupted, scores, and the command line."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import av
import numpy as np
import pytest
import torch
import yaml

from slowfast.datasets.clip import normalize
from slowfast.datasets.loading.prefetch import Prefetch
from slowfast.errors import DecodeError, ModelError, NotFiniteError
from slowfast.features.storage import FeatureFile
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.models.frame_encoder import FrameEncoder
from slowfast.models.weights_hash import weights_hash
from slowfast.video.decoding import decode
from slowfast.video.frame_scaler import FrameScaler
from slowfast.video.frame_table import scan
from slowfast.video.pyav_video import PyAVVideo
from tests.support.processes import run_forked
from tests.support.tiny_models import CLASSES, FEATURE_DIM, TINY, tiny, with_large_weights
from tests.support.videos import write_video
from vtn import VTN, FrameAverage, score_video, score_windows
from vtn.cli.predict import main
from vtn.inference.extract import FrameView, extract_video_features
from vtn.inference.prediction import Prediction
from vtn.predictor import single_video

VIEW = FrameView(fps=5.0, short_side=16, crop_size=16, mean=(0.45,) * 3, std=(0.225,) * 3)
VIT = {"img_size": 16, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}
FRAMES = 180  # at 25 frames per second; every fifth frame is used


@pytest.fixture(scope="module")
def video_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "video.mp4", FRAMES, size=(32, 32), bf="2")


def tiny_vit(**changes: Any) -> FrameAverage:
    arguments: dict[str, Any] = {"num_classes": CLASSES, "mlp_dim": 16, "backbone_args": VIT, **changes}
    return with_large_weights(FrameAverage("vit_tiny_patch16_224", pretrained=False, **arguments))


@torch.no_grad()
def features_at_once(model: VTN, video_path: Path) -> torch.Tensor:
    frames = torch.from_numpy(decode(video_path, indices=range(0, FRAMES, 5), size=16))
    return model.encode_frames(normalize(frames.permute(3, 0, 1, 2)[None], VIEW.mean, VIEW.std))[0]


def interrupt_after(model: VTN, chunks: int) -> Interrupt:
    """Returns an interrupt that is requested while the backbone encodes chunk number ``chunks``."""
    interrupt = Interrupt()
    seen = 0

    def count(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == chunks:
            interrupt.signum = 2

    model.backbone.register_forward_hook(count)
    return interrupt


def test_features_of_a_file_equal_the_features_of_its_frames(video_path: Path, tmp_path: Path) -> None:
    model = tiny(chunk_frames=8)
    video = extract_video_features(model, video_path, VIEW, tmp_path / "f.npy")
    torch.testing.assert_close(video.features, features_at_once(model, video_path), atol=1e-5, rtol=0)
    assert video.indices.tolist() == list(range(0, FRAMES, 5))
    assert video.duration == pytest.approx(FRAMES / 25)
    np.testing.assert_allclose(video.times.seconds, np.arange(36) / 5, atol=1e-6)
    np.testing.assert_array_equal(np.load(tmp_path / "f.npy"), video.features)


def test_a_stopped_extraction_continues_after_the_last_chunk(
    video_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(chunk_frames=8)
    with pytest.raises(Interrupted, match=r"16 of 36 frames are in .*f\.npy"):
        extract_video_features(
            model, video_path, VIEW, tmp_path / "f.npy", interrupt=interrupt_after(model, 2)
        )
    assert np.load(tmp_path / "f.npy").shape == (16, FEATURE_DIM)

    asked: list[int] = []
    read_chunks = PyAVVideo.read_chunks

    def spy(video: PyAVVideo, indices: np.ndarray, *rest: Any) -> Iterator[np.ndarray]:
        asked.extend(indices.tolist())
        return read_chunks(video, indices, *rest)

    monkeypatch.setattr(PyAVVideo, "read_chunks", spy)
    model = tiny(chunk_frames=8)
    video = extract_video_features(model, video_path, VIEW, tmp_path / "f.npy")
    assert asked == list(range(80, FRAMES, 5))
    torch.testing.assert_close(video.features, features_at_once(model, video_path), atol=1e-5, rtol=0)

    asked.clear()
    again = extract_video_features(model, video_path, VIEW, tmp_path / "f.npy")
    assert asked == []
    assert torch.equal(again.features, video.features)


def stop_while_a_thread_decodes(path: str, features: str) -> None:
    """Encodes one chunk; that of the thread takes longer than the thread is waited for."""
    put, close, number = FrameScaler.put, Prefetch.close, 0

    def slow_put(scaler: FrameScaler, *rest: Any) -> None:
        nonlocal number
        number += 1
        if number > 8:
            time.sleep(0.1)
        put(scaler, *rest)

    with (
        patch.object(scan, "_KEEP_BYTES", 0),  # as for a large file, which is read again
        patch.object(FrameScaler, "put", slow_put),
        patch.object(Prefetch, "close", lambda prefetch: close(prefetch, timeout=0.15)),
    ):
        model = tiny(chunk_frames=8)
        with pytest.raises(Interrupted):
            extract_video_features(model, path, VIEW, features, interrupt=interrupt_after(model, 1))
        for thread in threading.enumerate():
            if thread.name == "prefetch":
                thread.join()


def test_a_thread_that_still_decodes_ends_with_its_video(video_path: Path, tmp_path: Path) -> None:
    assert run_forked(stop_while_a_thread_decodes, str(video_path), str(tmp_path / "f.npy")) == 0
    assert np.load(tmp_path / "f.npy").shape == (8, FEATURE_DIM)


@pytest.mark.parametrize("changed", ["fps", "weights", "video"])
def test_features_of_another_source_are_replaced(
    video_path: Path, tmp_path: Path, changed: str, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "video.mp4"
    copy.write_bytes(video_path.read_bytes())
    model, view = tiny(), VIEW
    extract_video_features(model, copy, view, tmp_path / "f.npy")
    if changed == "fps":
        view = FrameView(2.5, 16, 16, VIEW.mean, VIEW.std)
    elif changed == "weights":
        with torch.no_grad():
            model.backbone.project.bias.add_(1)
    else:
        os.utime(copy, ns=(0, 0))
    with caplog.at_level(logging.WARNING):
        video = extract_video_features(model, copy, view, tmp_path / "f.npy")
    assert "is replaced" in caplog.text
    if changed == "weights":
        torch.testing.assert_close(video.features, features_at_once(model, video_path), atol=1e-5, rtol=0)
    assert len(video.features) == (18 if changed == "fps" else 36)


@pytest.mark.parametrize(
    ("before", "after", "logged"),
    [
        ({}, {"pooling": "mean"}, "mean"),
        ({"frozen": True}, {"frozen": True, "frozen_dtype": "bfloat16"}, "bfloat16"),
        (
            {"lora": {"rank": 2, "alpha": 2.0, "targets": ["qkv"]}},
            {"lora": {"rank": 2, "alpha": 8.0, "targets": ["qkv"]}},
            "alpha 8",
        ),
        ({}, {"backbone_args": {**VIT, "act_layer": "relu"}}, "relu"),
    ],
    ids=["pooling", "frozen dtype", "lora", "options"],
)
def test_features_of_the_same_weights_with_other_settings_are_replaced(
    video_path: Path,
    tmp_path: Path,
    before: dict[str, Any],
    after: dict[str, Any],
    logged: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Both models have the same class and weights."""
    if "lora" in before:
        pytest.importorskip("peft", reason="peft is not installed; it is in the extra 'lora'")
    assert weights_hash(tiny_vit(**before).backbone) == weights_hash(tiny_vit(**after).backbone)
    extract_video_features(tiny_vit(**before), video_path, VIEW, tmp_path / "f.npy")
    with caplog.at_level(logging.WARNING):
        extract_video_features(tiny_vit(**before), video_path, VIEW, tmp_path / "f.npy")
        assert "is replaced" not in caplog.text
        extract_video_features(tiny_vit(**after), video_path, VIEW, tmp_path / "f.npy")
    assert "is replaced" in caplog.text
    assert logged in caplog.text


def test_features_computed_in_another_dtype_are_replaced(
    video_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    extract_video_features(tiny(), video_path, VIEW, tmp_path / "f.npy")
    model = tiny().prepare_inference(torch.bfloat16)
    with caplog.at_level(logging.WARNING):
        extract_video_features(model, video_path, VIEW, tmp_path / "f.npy")
    assert "is replaced" in caplog.text


def test_an_earlier_result_stays_valid_when_its_file_is_replaced(video_path: Path, tmp_path: Path) -> None:
    model, path = tiny(), tmp_path / "f.npy"
    dense = extract_video_features(model, video_path, VIEW, path)
    values, scores = dense.features.clone(), score_video(model, dense)
    # The same number of rows, so that a truncated file would show in the values and not kill the process.
    other = extract_video_features(model, video_path, FrameView(5.0, 20, 16, VIEW.mean, VIEW.std), path)
    assert not torch.equal(other.features, values)
    assert torch.equal(dense.features, values)
    np.testing.assert_array_equal(score_video(model, dense), scores)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("column", [0, 1])
def test_features_that_are_not_finite_are_an_error_of_the_model(
    video_path: Path, tmp_path: Path, value: float, column: int
) -> None:
    model = tiny(chunk_frames=8)
    calls = 0

    def spoil(module: Any, images: Any, features: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 2:
            features[3, column] = value
        return features

    model.backbone.register_forward_hook(spoil)
    with pytest.raises(NotFiniteError, match=r"video\.mp4: the model gives NaN .* frame 55 .* weights"):
        extract_video_features(model, video_path, VIEW, tmp_path / "f.npy")
    assert np.load(tmp_path / "f.npy").shape == (8, FEATURE_DIM)
    assert extract_video_features(model, video_path, VIEW, tmp_path / "f.npy").mask is None


@pytest.fixture
def damaged_video(tmp_path: Path) -> Path:
    """Returns a video of key frames alone, of which frames 50 to 119 are overwritten with zeros."""
    path = write_video(tmp_path / "damaged.avi", FRAMES, size=(32, 32), codec="mjpeg", pix_fmt="yuvj420p")
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for start, size in packets[50:120]:
        content[start : start + size] = bytes(size)
    path.write_bytes(content)
    return path


def test_frames_that_cannot_be_decoded_are_left_out(
    damaged_video: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny(chunk_frames=8)
    with caplog.at_level(logging.WARNING):
        video = extract_video_features(model, damaged_video, VIEW, tmp_path / "f.npy")
    assert "14 of 36 frames cannot be decoded, the first of them is frame 50" in caplog.text
    assert video.mask is not None
    assert video.mask.tolist() == [not 50 <= index < 120 for index in range(0, FRAMES, 5)]
    assert video.features[video.mask].isfinite().all()

    decodable = video.mask[None]
    positions = video.positions(model.position_rate)[None]
    with torch.no_grad():
        expected = model.classify(video.features.nan_to_num()[None], positions, decodable)
    np.testing.assert_allclose(score_video(model, video), expected.softmax(-1)[0], atol=1e-6)

    timeline = score_windows(model, video, seconds=1.0, stride=1.0)
    assert np.flatnonzero(np.isnan(timeline.scores).any(axis=1)).tolist() == [2, 3]


def test_a_file_that_is_not_a_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("text")
    with pytest.raises(DecodeError, match="not a video"):
        extract_video_features(tiny(), tmp_path / "a.mp4", VIEW, tmp_path / "f.npy")


def exit_status(arguments: list[str]) -> int:
    """Returns the exit status as a shell gets it, also where argparse exits."""
    try:
        return main(arguments)
    except SystemExit as stopped:
        return int(stopped.code or 0)


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
        return [
            str(video_path),
            f"--cfg={folder / 'model.yaml'}",
            f"--checkpoint={folder / 'weights.pyth'}",
        ]

    def test_scores_of_a_file(
        self, arguments: list[str], video_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = ["OUTPUT_DIR", str(tmp_path)]
        scores = tmp_path / "scores.json"
        assert main([*arguments, "--window=2", "--stride=1", f"--output={scores}", "--top=3", *output]) == 0
        read = json.loads(scores.read_text())
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
        shown = capsys.readouterr().out
        assert f"1. class {best}  {expected.max():.3f}" in shown
        assert "over time" in shown
        (features,) = (tmp_path / "features").glob("video-*.npy")
        assert f"features of the frames are kept in {features}" in shown

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

    def test_a_table_from_existing_features(
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
        assert rows[0] == ["start", "end", *(f"class {k}" for k in range(CLASSES))]
        assert [row[:2] for row in rows[1:]] == [["0.000", "7.200"], ["0.000", "4.000"], ["4.000", "7.200"]]

    def test_a_video_with_frames_that_cannot_be_decoded(
        self, arguments: list[str], damaged_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        scores = tmp_path / "scores.json"
        rest = [*arguments[1:], "--window=1", f"--output={scores}", "OUTPUT_DIR", str(tmp_path)]
        assert main([str(damaged_video), *rest]) == 0
        shown = capsys.readouterr().out
        assert "22 frames scored, 14 could not be decoded" in shown
        assert "0:00:02 to 0:00:04  no frame could be decoded" in shown
        written = json.loads(scores.read_text())
        assert written["undecodable_frames"] == 14
        assert [window["scores"] is None for window in written["windows"][:5]] == [0, 0, 1, 1, 0]

    def test_ctrl_c_reports_the_kept_features(
        self,
        arguments: list[str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        features = f"--features={tmp_path / 'f.npy'}"

        encode = FrameEncoder.encode

        def press_ctrl_c(encoder: FrameEncoder, frames: Any) -> torch.Tensor:
            signal.raise_signal(signal.SIGINT)
            return encode(encoder, frames)

        with monkeypatch.context() as patch:
            patch.setattr(FrameEncoder, "encode", press_ctrl_c)
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
        assert exit_status([*arguments, *changes]) == status
        assert message in capsys.readouterr().err

    @pytest.mark.parametrize("option", ["--features={}/f.npy", "--output={}/scores.csv"])
    def test_a_file_within_a_file_is_refused(
        self, arguments: list[str], option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").touch()
        assert exit_status([*arguments, option.format(tmp_path / "file")]) == 2
        assert f"{tmp_path / 'file'} is not a folder" in capsys.readouterr().err

    def test_a_folder_that_cannot_be_written_is_reported(
        self, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").touch()
        assert main([*arguments, "OUTPUT_DIR", str(tmp_path / "file")]) == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert re.search(rf": \[Errno \d+\] .*: '{tmp_path / 'file'}", last)

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
        assert last.endswith(f"[Errno {errno.ENOSPC}] No space left on device: '{named}'")

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
