"""The demonstration of a run: reads ``DEMO.INPUT_VIDEO`` and writes ``DEMO.OUTPUT_FILE``."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fvcore.common.config import CfgNode

from slowfast.datasets.class_names import build_class_names, read_class_names
from slowfast.datasets.views.view_reader import ClipViews, ViewReader
from slowfast.distributed.device import device_errors
from slowfast.distributed.world import World
from slowfast.engine.demo.drawing import OutputFormat, Overlay, draw_video
from slowfast.engine.demo.windows import WindowScorer
from slowfast.engine.run_model import build_tested_model, find_tested_weights
from slowfast.errors import ConfigError
from slowfast.interrupt import Interrupt
from slowfast.log import get_logger
from slowfast.models.capabilities import clip_grid_of, memory_remedies
from slowfast.models.frame_format import frame_normalization
from slowfast.models.precision import build_precision
from slowfast.models.score_activations import SCORE_ACTIVATION_REGISTRY
from slowfast.progress import Progress
from slowfast.video.decoding import open_video

logger = get_logger(__name__)


def check_demo_inputs(cfg: CfgNode) -> None:
    """Opens the video and reads the names of the classes, so that a run does not fail at its end.

    Raises:
        ConfigError: for unsuitable names.
        DecodeError: where the file is not a decodable video.
    """
    if cfg.DEMO.LABEL_FILE_PATH:
        read_class_names(cfg.DEMO.LABEL_FILE_PATH, cfg.MODEL.NUM_CLASSES, key="DEMO.LABEL_FILE_PATH")
    with open_video(cfg.DEMO.INPUT_VIDEO) as video:
        video.read(np.array([0]))


def run_demo(cfg: CfgNode, world: World, interrupt: Interrupt, *, trained: Path | None) -> Path | None:
    """Draws the best classes over time on a video, with the weights that a test would use; on rank 0 alone.

    The windows are as long as the clips of the training, and scored as such clips.

    Args:
        trained: the checkpoint just trained; None: training is off.

    Returns:
        The written file; None on the other ranks.

    Raises:
        CheckpointError: if no weights are found, or they do not fit the model.
        ConfigError: for settings that do not fit the model.
        DecodeError: where the video cannot be decoded.
        Interrupted: after a signal; no file is written.
    """
    if not world.is_main:
        return None
    weights = find_tested_weights(cfg, trained)
    tested = build_tested_model(cfg, world, weights)
    cfg, model = tested.cfg, tested.model
    names = _class_names(cfg, tested.class_names)
    seconds, stride = _window_lengths(cfg)
    scorer = _build_scorer(cfg, model, world)
    path, output = cfg.DEMO.INPUT_VIDEO, demo_output(cfg)
    logger.info("demo: %s, windows of %.3g s every %.3g s, weights %s", path, seconds, stride, weights)
    remedies = (*memory_remedies(model, training=False), f"TEST.BATCH_SIZE below {cfg.TEST.BATCH_SIZE}")
    # Two readers: one jumps from window to window, the other reads all frames in order.
    with (
        device_errors(world.device, *remedies),
        open_video(path, cfg.DATA.DECODING_BACKEND) as clips,
        open_video(path) as frames,
        Progress(frames.times.num_frames, "demo", "frame") as progress,
    ):

        def count(frames_done: int) -> None:
            progress.update(frames_done)
            interrupt.raise_if_requested()

        lost = draw_video(
            frames,
            scorer.windows(clips, path, seconds, stride),
            output,
            functools.partial(Overlay, names, cfg.DEMO.NUM_CLASSES_SHOWN),
            on_frames=count,
        )
    if lost:
        logger.warning("demo: %d frames of %s cannot be decoded; they are black", lost, path)
    logger.info("demo: %s", output.path)
    return output.path


def demo_output(cfg: CfgNode) -> OutputFormat:
    """Returns the form of the written video."""
    demo = cfg.DEMO
    path = Path(demo.OUTPUT_FILE) if demo.OUTPUT_FILE else Path(cfg.OUTPUT_DIR, "demo.mp4")
    return OutputFormat(path, demo.DISPLAY_HEIGHT, demo.DISPLAY_WIDTH, demo.OUTPUT_FPS)


def _class_names(cfg: CfgNode, stored: Sequence[Any]) -> list[str]:
    if path := cfg.DEMO.LABEL_FILE_PATH:
        return read_class_names(path, cfg.MODEL.NUM_CLASSES, key="DEMO.LABEL_FILE_PATH")
    return build_class_names(cfg, stored)


def _window_lengths(cfg: CfgNode) -> tuple[float, float]:
    """Returns the length of a window and the way to the next one, in seconds.

    Raises:
        ConfigError: where windows overlap as a whole.
    """
    length = cfg.DATA.NUM_FRAMES * cfg.DATA.SAMPLING_RATE
    if length <= cfg.DEMO.BUFFER_SIZE:
        raise ConfigError(
            f"DEMO.BUFFER_SIZE = {cfg.DEMO.BUFFER_SIZE}: must be below DATA.NUM_FRAMES × DATA.SAMPLING_RATE "
            f"= {length:g}, the frames of a window; give a smaller overlap"
        )
    return length / cfg.DATA.TARGET_FPS, (length - cfg.DEMO.BUFFER_SIZE) / cfg.DATA.TARGET_FPS


def _build_scorer(cfg: CfgNode, model: Any, world: World) -> WindowScorer:
    data = cfg.DATA
    multiple = data.TEST_PICTURE_MULTIPLE if data.TEST_WHOLE_PICTURE else 0
    scheme = ClipViews(
        num_frames=data.NUM_FRAMES,
        sampling_rate=data.SAMPLING_RATE,
        target_fps=data.TARGET_FPS,
        short_side=data.TEST_CROP_SIZE if multiple else min(data.TRAIN_JITTER_SCALES),
        crop_size=data.TEST_CROP_SIZE,
        centre=True,
        interpolation=data.INTERPOLATION,
        picture_multiple=multiple,
    )
    return WindowScorer(
        model=model,
        reader=ViewReader(scheme, model.position_rate, clip_grid=clip_grid_of(model)),
        normalization=frame_normalization(cfg, model),
        activation=SCORE_ACTIVATION_REGISTRY.get(cfg.MODEL.HEAD_ACT),
        device=world.device,
        precision=build_precision(cfg, "test", world.device),
        batch_size=cfg.TEST.BATCH_SIZE,
        reverse_channels=data.REVERSE_INPUT_CHANNEL,
    )
