"""The demonstration after a run: a video with the best classes over time, decoded again."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from slowfast.config.check import check
from slowfast.distributed.world import World
from slowfast.engine.demo.drawing import OutputFormat, Overlay, draw_video
from slowfast.engine.demo.run import run_demo
from slowfast.engine.demo.windows import Window, demo_spans
from slowfast.engine.run import run
from slowfast.errors import ConfigError, DecodeError
from slowfast.interrupt import Interrupt, Interrupted
from slowfast.video.decoding import decode, open_video
from tests.conftest import COLOURS
from tests.support.tiny import tiny_config
from tests.support.tiny_models import NO_DROPOUT, SMALL_VTN
from tests.support.videos import write_video

NAMES = ["red", "green", "blue"]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red, then a green, then a blue second at 24 frames per second, 96 × 160 pixels."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    rng = np.random.default_rng(0)
    frames = [
        (np.array(colour) + rng.normal(0, 20, (96, 160, 1))).clip(0, 255).astype(np.uint8)
        for colour in COLOURS
        for _ in range(24)
    ]
    return write_video(path, frames, fps=24)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({name: index for index, name in enumerate(NAMES)}))
    return path


def demo_changes(film: Path, labels: Path) -> tuple[Any, ...]:
    return (
        "DEMO.ENABLE", True, "DEMO.INPUT_VIDEO", str(film), "DEMO.LABEL_FILE_PATH", str(labels),
        "DATA.TARGET_FPS", 24, "DATA.SAMPLING_RATE", 3, "DEMO.BUFFER_SIZE", 6,
    )  # fmt: skip


class Recorder(Overlay):
    """Keeps the best class of each panel that is drawn."""

    best: list[int]

    def panel(self, scores: Any) -> Any:
        Recorder.best.append(-1 if scores is None else int(scores.argmax()))
        return super().panel(scores)


@pytest.mark.parametrize("options", [(), (*SMALL_VTN, *NO_DROPOUT)], ids=["clips", "frame by frame"])
def test_a_run_ends_with_the_drawn_video(
    options: tuple[Any, ...], colour_videos: Path, film: Path, labels: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It trains on colours, and the video's best class changes with its colour."""
    Recorder.best = []
    monkeypatch.setattr("slowfast.engine.demo.run.Overlay", Recorder)
    cfg = tiny_config(
        colour_videos, tmp_path / "run", *options, "SOLVER.OPTIMIZING_METHOD", "adamw", "SOLVER.BASE_LR",
        0.006, "SOLVER.MAX_EPOCH", 10, "TRAIN.EVAL_PERIOD", 10, *demo_changes(film, labels),
    )  # fmt: skip
    assert run(cfg) == 0

    # Windows of half a second every quarter of a second; those between two colours may be either.
    assert len(Recorder.best) == 11
    assert [Recorder.best[window] for window in (0, 1, 2, 4, 5, 6, 8, 9, 10)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    with open_video(str(tmp_path / "run" / "demo.mp4")) as written, open_video(str(film)) as source:
        assert written.codec == "h264"
        assert np.allclose(written.times.seconds, source.times.seconds, atol=1e-3)
        frames, original = (video.read(np.array([10, 40])) for video in (written, source))
    assert frames.shape == original.shape
    # The panel lies in the upper left corner, and the rest is as it was, up to compression.
    changed = np.abs(frames.astype(int) - original.astype(int)).mean(axis=(0, 3))
    assert changed[:30, :60].mean() > 30
    assert changed[50:, 80:].mean() < 8


def test_a_finished_run_is_drawn_without_training(
    colour_videos: Path, film: Path, labels: Path, tmp_path: Path
) -> None:
    assert run(tiny_config(colour_videos, tmp_path, "SOLVER.MAX_EPOCH", 1)) == 0
    path = tmp_path / "small.mkv"
    cfg = tiny_config(
        colour_videos, tmp_path, "TRAIN.ENABLE", False, "TEST.ENABLE", False, *demo_changes(film, labels),
        "DEMO.OUTPUT_FILE", str(path), "DEMO.DISPLAY_WIDTH", 81, "DEMO.OUTPUT_FPS", 12.0,
    )  # fmt: skip
    assert check(cfg, for_run=True) == []
    assert run(cfg) == 0
    with open_video(str(path)) as written:
        assert written.size == (48, 80)
        assert written.times.num_frames == 72
        assert written.times.duration == pytest.approx(6.0, abs=0.1)


def test_frames_that_cannot_be_decoded_are_black(
    colour_videos: Path, film: Path, labels: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The packets of a group of frames are overwritten; the video keeps its length."""
    assert run(tiny_config(colour_videos, tmp_path, "SOLVER.MAX_EPOCH", 1)) == 0
    with av.open(str(film)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        spans = [(packet.pos, packet.size) for packet in packets[36:48]]
    content = bytearray(film.read_bytes())
    for start, size in spans:
        content[start : start + size] = bytes(size)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content)
    cfg = tiny_config(colour_videos, tmp_path, *demo_changes(damaged, labels))
    with caplog.at_level(logging.WARNING):
        path = run_demo(cfg, World(), Interrupt(), trained=None)
    assert "12 frames of" in caplog.text
    frames = decode(str(path), indices=[20, 40])
    assert frames[0, 60:, 100:].mean() > 50
    assert frames[1, 60:, 100:].mean() < 20
    assert len(decode(str(path))) == 72


def test_an_interrupted_demo_leaves_no_file(
    colour_videos: Path, film: Path, labels: Path, tmp_path: Path
) -> None:
    assert run(tiny_config(colour_videos, tmp_path, "SOLVER.MAX_EPOCH", 1)) == 0
    cfg = tiny_config(colour_videos, tmp_path, *demo_changes(film, labels))
    with Interrupt() as interrupt:
        interrupt.request(15)
        with pytest.raises(Interrupted):
            run_demo(cfg, World(), interrupt, trained=None)
    assert not list(tmp_path.glob("*demo*"))


def test_each_frame_shows_the_newest_window_that_has_started(film: Path, tmp_path: Path) -> None:
    """Windows are taken when they are needed, and one without scores says so."""
    taken: list[int] = []

    def windows() -> Any:
        for number, (start, end) in enumerate(demo_spans(3.0, 1.0, 1.0)):
            taken.append(number)
            scores = np.eye(3, dtype=np.float32)[number]
            yield Window(start, end, None if number == 1 else scores)

    class Plain(Overlay):
        def panel(self, scores: Any) -> Any:
            assert len(taken) <= len(shown) + 2  # the one shown, and the next
            shown.append(scores)
            return super().panel(scores)

    shown: list[Any] = []
    output = OutputFormat(tmp_path / "out.mp4")
    with open_video(str(film)) as video:
        draw_video(video, windows(), output, lambda height, width: Plain(NAMES, 2, height, width))
    assert [None if scores is None else int(scores.argmax()) for scores in shown] == [0, None, 2]
    frames = decode(str(output.path), indices=[23, 24])
    assert np.abs(frames[0, :28, :64].astype(int) - frames[1, :28, :64].astype(int)).mean() > 10


def test_the_panel_fits_any_frame() -> None:
    """Names that are too long are cut, and frames smaller than the panel are covered at most."""
    scores = np.array([0.1, 0.7, 0.2], np.float32)
    for height, width in ((16, 16), (48, 64), (1080, 1920)):
        overlay = Overlay(["a" * 300, "b" * 300, "line\nbreak"], 5, height, width)
        panel = overlay.panel(scores)
        assert panel.height <= height
        assert panel.width <= width
        frame = np.full((height, width, 3), 255, np.uint8)
        drawn = overlay.draw(frame, panel)
        assert drawn.shape == frame.shape
        assert (drawn != frame).any()
        assert (frame == 255).all()


def test_a_class_without_a_name_is_not_a_bare_number() -> None:
    scores = np.array([0.1, 0.7, 0.2], np.float32)
    drawn, expected = (
        np.asarray(Overlay(names, 3, 200, 400).panel(scores))
        for names in (["0", "run", "2"], ["class 0", "run", "class 2"])
    )
    assert np.array_equal(drawn, expected)


def test_the_bar_of_a_class_is_as_long_as_its_score() -> None:
    overlay = Overlay(["", "", ""], 3, 200, 400)
    panel = np.asarray(overlay.panel(np.array([0.25, 0.75, 0.0], np.float32)))
    row = len(panel) // 3
    filled = [(panel[line * row + 2, :, 2] > 150).mean() for line in range(3)]
    assert filled == pytest.approx([0.75, 0.25, 0.0], abs=0.02)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("INPUT_VIDEO", "missing.mp4", "DEMO.INPUT_VIDEO = 'missing.mp4': must be a video file"),
        ("LABEL_FILE_PATH", "missing.json", "DEMO.LABEL_FILE_PATH = 'missing.json': does not exist"),
        ("WEBCAM", 0, "DEMO.WEBCAM = 0: must be -1"),
        ("OUTPUT_FILE", "demo.avi", "DEMO.OUTPUT_FILE = 'demo.avi': must end in"),
        ("OUTPUT_FPS", 0.0, "DEMO.OUTPUT_FPS = 0.0: must be above 0"),
        ("BUFFER_SIZE", 12, "DEMO.BUFFER_SIZE = 12: must be below"),
    ],
)
def test_unsuitable_settings_are_found_before_the_run(
    key: str, value: Any, problem: str, colour_videos: Path, film: Path, labels: Path, tmp_path: Path
) -> None:
    changes = (*demo_changes(film, labels), f"DEMO.{key}", value)
    (found,) = check(tiny_config(colour_videos, tmp_path, *changes), for_run=True)
    assert found.startswith(problem)


def test_the_video_itself_is_not_replaced(
    colour_videos: Path, film: Path, labels: Path, tmp_path: Path
) -> None:
    changes = (*demo_changes(film, labels), "DEMO.OUTPUT_FILE", str(film))
    (found,) = check(tiny_config(colour_videos, tmp_path, *changes), for_run=True)
    assert "must differ from DEMO.INPUT_VIDEO" in found


def test_files_that_cannot_be_read_end_the_run_before_training(
    colour_videos: Path, film: Path, labels: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    with pytest.raises(DecodeError):
        run(tiny_config(colour_videos, tmp_path / "a", *demo_changes(broken, labels)))
    labels.write_text('{"red": 0}')
    with pytest.raises(ConfigError, match=r"DEMO\.LABEL_FILE_PATH = .*has 1 names"):
        run(tiny_config(colour_videos, tmp_path / "b", *demo_changes(film, labels)))
    assert not list(tmp_path.glob("*/checkpoints/*"))
