"""Prediction for one video file: model from a configuration, features, scores.

Features are kept on disk: a prediction that was interrupted continues, and other windows of the same video
need no second pass of the backbone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast.checkpoint.weights import load_model_weights
from slowfast.config import load_config
from slowfast.datasets.class_names import build_class_names
from slowfast.distributed.device import choose_device, device_errors, use_device
from slowfast.errors import ConfigError
from slowfast.interrupt import Interrupt
from slowfast.log import get_logger
from slowfast.models.build import build_model
from slowfast.models.frame_format import adopt_frame_format, frame_normalization
from slowfast.models.inference.encoding import EncodingRequest, choose_encoding
from slowfast.solver.ema import evaluates_average
from vtn.frame_model import FrameModel
from vtn.inference.extract import FrameView, extract_video_features
from vtn.inference.prediction import Prediction
from vtn.inference.windows import score_video, score_windows

logger = get_logger(__name__)


@dataclass(frozen=True)
class PredictionRequest:
    """A video, the model that classifies it, and the scores that are wanted.

    Attributes:
        video: path of the video file.
        config: YAML file, or name of a shipped configuration.
        checkpoint: file with the weights of the model.
        overrides: ``[KEY, VALUE, …]`` over the configuration.
        fps: frames per second that the backbone encodes; None: as in training.
        window: length in seconds of windows that are scored as well; None: no windows.
        stride: seconds from the start of a window to the start of the next; None: ``window``.
        features: ``.npy`` file of the features; empty: a file in ``OUTPUT_DIR/features``.
    """

    video: str
    config: str
    checkpoint: str
    overrides: Sequence[str] = ()
    fps: float | None = None
    window: float | None = None
    stride: float | None = None
    features: str = ""


def predict_video(request: PredictionRequest, interrupt: Interrupt) -> Prediction:
    """Classifies a video as a whole and, where asked for, window by window; shows a progress bar.

    Args:
        request: what to classify, and how.
        interrupt: asked after each chunk of frames and each batch of windows.

    Raises:
        ConfigError: where the configuration is wrong or its model does not encode single frames.
        CheckpointError: where the weights cannot be loaded.
        DeviceError: where the device cannot be used or its memory is full.
        DecodeError: where the video cannot be decoded.
        Interrupted: where a stop signal came; the features so far are on disk.
    """
    cfg = load_config(request.config, ["TRAIN.ENABLE", "False", "TEST.ENABLE", "False", *request.overrides])
    model, class_names = build_frame_model(cfg, request.checkpoint)
    cfg = adopt_frame_format(cfg, model)
    view = build_frame_view(cfg, model, request.fps)
    if not request.features:
        request = replace(request, features=str(feature_path(request.video, cfg.OUTPUT_DIR)))
        shown = os.fsencode(request.features).decode("utf-8", "backslashreplace")
        logger.info("features of the frames are kept in %s", shown)
    device = choose_device(cfg.NUM_GPUS)
    use_device(device)
    with device_errors(device, *model.memory_remedies(training=False)):
        model = model.to(device).prepare_inference()
        size = cfg.DATA.TEST_CROP_SIZE
        choose_encoding(model, EncodingRequest.from_config(cfg), (size, size), device)
        return _predict(model, class_names, view, cfg.MODEL.HEAD_ACT, request, interrupt)


def _predict(
    model: FrameModel,
    class_names: list[str],
    view: FrameView,
    head_act: str,
    request: PredictionRequest,
    interrupt: Interrupt,
) -> Prediction:
    """Does :func:`predict_video` with a model on its device, prepared for inference."""
    with naming_file(request.features):
        video = extract_video_features(
            model, request.video, view, request.features, show_progress=True, interrupt=interrupt
        )
    timeline = None
    if request.window:
        timeline = score_windows(
            model,
            video,
            request.window,
            request.stride or request.window,
            head_act=head_act,
            on_batch=lambda windows: interrupt.raise_if_requested(),
        )
    return Prediction(
        video=request.video,
        seconds=video.duration,
        num_frames=video.num_decoded,
        num_undecodable=len(video.features) - video.num_decoded,
        class_names=class_names,
        scores=score_video(model, video, head_act=head_act),
        timeline=timeline,
    )


def build_frame_model(cfg: CfgNode, checkpoint: str | Path) -> tuple[FrameModel, list[str]]:
    """Returns the model of a configuration with the weights of a file, and K class names.

    Raises:
        ConfigError: where the model does not encode single frames.
        CheckpointError: where the weights cannot be loaded.
    """
    model = build_model(cfg, fetch_weights=False)
    if not isinstance(model, FrameModel):
        raise ConfigError(
            f"MODEL.MODEL_NAME = {cfg.MODEL.MODEL_NAME!r}: must encode single frames; use VTN, FrameAverage "
            "or AttentiveProbe"
        )
    stored_names = load_model_weights(model, checkpoint, averaged=evaluates_average(cfg))
    return model, build_class_names(cfg, stored_names)


def build_frame_view(cfg: CfgNode, model: FrameModel, fps: float | None = None) -> FrameView:
    """Returns the frames of a video that the model encodes in the middle crop, their size and normalisation.

    Args:
        cfg: the configuration, with the model's frame format filled in.
        model: the model.
        fps: frames per second; None: ``DATA.TARGET_FPS / DATA.SAMPLING_RATE``, as in training.
    """
    mean, std = frame_normalization(cfg, model)
    whole = cfg.DATA.TEST_WHOLE_PICTURE
    # As the test of full videos scales them: several crops come from smaller frames than one crop does.
    fills_crop = whole or (cfg.TRAIN.EVAL_FULL_VIDEO and cfg.TEST.NUM_SPATIAL_CROPS > 1)
    return FrameView(
        fps=fps or cfg.DATA.TARGET_FPS / cfg.DATA.SAMPLING_RATE,
        short_side=cfg.DATA.TEST_CROP_SIZE if fills_crop else min(cfg.DATA.TRAIN_JITTER_SCALES),
        crop_size=cfg.DATA.TEST_CROP_SIZE,
        mean=mean,
        std=std,
        interpolation=cfg.DATA.INTERPOLATION,
        picture_multiple=cfg.DATA.TEST_PICTURE_MULTIPLE if whole else 0,
    )


def feature_path(video: str | Path, output_dir: str | Path) -> Path:
    """Returns the feature file of a video: its name and a hash of its path, since names repeat."""
    path_hash = hashlib.sha256(os.fsencode(Path(video).resolve())).hexdigest()[:8]
    return Path(output_dir) / "features" / f"{Path(video).stem}-{path_hash}.npy"


@contextmanager
def naming_file(path: str | Path) -> Iterator[None]:
    """Adds the file being written to an ``OSError`` that names none, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
