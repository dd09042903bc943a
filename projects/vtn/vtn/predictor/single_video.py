"""Prediction for one video file: model from a configuration, features, scores.

The scores are those of the test of the configuration. Features of full videos are kept on the disk: a
prediction that was interrupted continues, and other windows of the same video need no second pass of the
backbone.

K classes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fvcore.common.config import CfgNode

from slowfast.checkpoint.storage import read_checkpoint
from slowfast.config import load_config
from slowfast.datasets.class_names import build_class_names
from slowfast.distributed.device import choose_device, device_errors, use_device
from slowfast.errors import InputError
from slowfast.files import naming_file
from slowfast.interrupt import Interrupt
from slowfast.log import get_logger
from slowfast.models.frame_format import adopt_frame_format
from slowfast.models.inference.encoding import EncodingRequest, choose_encoding
from slowfast.video.decoding import open_video
from vtn.backbones.frames.trial import without_training
from vtn.factory import check_model_class
from vtn.folder.untrusted import NOTHING_TO_RUN
from vtn.frame_model import FrameModel
from vtn.inference.extract import (
    FrameView,
    build_encoder,
    build_frame_view,
    decoding_threads,
    describe_features,
    extract_crops,
    extract_video_features,
)
from vtn.inference.features import VideoFeatures
from vtn.inference.prediction import Prediction, ScoredViews
from vtn.inference.windows import score_video, score_windows
from vtn.predictor.scoring import ClipScorer, merge_views
from vtn.predictor.videos import FileSource
from vtn.predictor.views import ViewPlan, build_view_plan
from vtn.publishing.checkpoint import build_trained_model

logger = get_logger(__name__)


@dataclass(frozen=True)
class PredictionRequest:
    """A video, the model that classifies it, and the scores that are wanted.

    Attributes:
        video: path of the video file.
        config: YAML file, or name of a shipped configuration.
        checkpoint: file with the weights of the model.
        overrides: ``[KEY, VALUE, …]`` over the configuration.
        fps: frames per second of the full video; None: the frames of the test, for windows those of training.
        window_seconds: length of windows that are scored as well; None: no windows. The video is then
            scored in the middle crop, too.
        stride_seconds: from the start of a window to the start of the next; None: ``window_seconds``.
        features: ``.npy`` file of the features; empty: a file in ``OUTPUT_DIR/features``. Several crops have
            a file each, with ``crop0``, ``crop1``, … in its name.
    """

    video: str
    config: str
    checkpoint: str
    overrides: Sequence[str] = ()
    fps: float | None = None
    window_seconds: float | None = None
    stride_seconds: float | None = None
    features: str = ""


def predict_video(request: PredictionRequest, interrupt: Interrupt) -> Prediction:
    """Classifies a video as a whole and, where asked for, window by window; shows a progress bar.

    Args:
        request: what to classify, and how.
        interrupt: asked after each chunk of frames, each clip and each batch of windows.

    Raises:
        ConfigError: where the configuration is wrong or its model does not encode single frames.
        CheckpointError: where the weights cannot be loaded.
        DeviceError: where the device cannot be used or its memory is full.
        DecodeError: where the video cannot be decoded.
        InputError: for a file of features where none are kept.
        Interrupted: where a stop signal came; the features so far are on disk.
    """
    cfg = load_config(request.config, [*NOTHING_TO_RUN, *request.overrides])
    check_model_class(cfg)
    with without_training():
        model = build_trained_model(cfg, read_checkpoint(request.checkpoint), request.checkpoint)
    class_names = build_class_names(cfg, model.class_names)
    cfg = adopt_frame_format(cfg, model)
    clips = None
    if not (request.window_seconds or request.fps or cfg.TRAIN.EVAL_FULL_VIDEO):
        clips = (cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS)
    plan = build_view_plan(cfg, model, views=clips, fps=request.fps)
    if clips and request.features:
        raise InputError(
            f"--features {request.features}: the test of this configuration is of clips "
            "(TRAIN.EVAL_FULL_VIDEO False), whose features are not kept; give --fps or --window as well, "
            "by which the full video is scored"
        )
    device = choose_device(cfg.NUM_GPUS)
    use_device(device)
    with device_errors(device, *model.memory_remedies(training=False)):
        model = model.to(device).prepare_inference()
        size = cfg.DATA.TEST_CROP_SIZE
        choose_encoding(model, EncodingRequest.from_config(cfg, device), (size, size), device)
        view = build_frame_view(cfg, model, request.fps)
        scorer = _VideoScorer(model, class_names, cfg, plan, view, request, interrupt)
        return scorer.predict()


@dataclass(frozen=True)
class _VideoScorer:
    """A model on its device, prepared for inference, and the request that it answers.

    Attributes:
        class_names: K names.
        cfg: the configuration, with the model's frame format filled in.
        plan: the views that are scored.
        view: the middle crop at the frame rate of windows.
        model, request, interrupt: see :func:`predict_video`.
    """

    model: FrameModel
    class_names: Sequence[str]
    cfg: CfgNode
    plan: ViewPlan
    view: FrameView
    request: PredictionRequest
    interrupt: Interrupt

    def predict(self) -> Prediction:
        """Predicts the video by windows, as a full video, or by clips."""
        if self.request.window_seconds:
            return self._predict_windows(self.request.window_seconds)
        return self._predict_crops() if self.plan.is_full_video else self._predict_clips()

    def _predict_windows(self, window: float) -> Prediction:
        """Scores the video and its windows in the middle crop."""
        views, path = self.plan.middle_crop, self._feature_file()
        self._log_frame_rate(views)
        with naming_file(path):
            features = extract_video_features(
                self.model,
                self.request.video,
                self.view,
                path,
                channels=self.plan.channels,
                show_progress=True,
                interrupt=self.interrupt,
            )
        timeline = score_windows(
            self.model,
            features,
            window,
            self.request.stride_seconds or window,
            head_act=self.cfg.MODEL.HEAD_ACT,
            on_batch=lambda windows: self.interrupt.raise_if_requested(),
        )
        scores = self._score(features)
        return Prediction.of_features(
            features, self.request.video, self.class_names, scores, timeline=timeline, views=views
        )

    def _predict_crops(self) -> Prediction:
        """Merges the scores of the crops of a full video, as its test does."""
        views, video = self.plan.scored_views, self.request.video
        path = self._feature_file(".crop*" if views.crops > 1 else "")
        if self.request.fps is not None:
            self._log_frame_rate(views)
        elif views.text:
            logger.info("the scores of %s are merged, as in the test", views.text)
        paths: dict[FrameView, Path] = {
            crop: path if views.crops == 1 else path.with_stem(f"{path.stem}.crop{crop.variant.crop}")
            for crop in self.view.crops(views.crops)
        }
        encoder = build_encoder(self.model, self.view, self.plan.channels)
        with naming_file(path), open_video(video, threads=decoding_threads()) as opened:
            source, indices = describe_features(encoder, video), self.plan.frames(opened.times)
            if not np.array_equal(indices, self.view.frames(opened.times)):  # perhaps as many, but others
                count = self.cfg.TRAIN.EVAL_NUM_FRAMES or "all"
                source["frames"] = f"{count} of the test, {self.cfg.DATA.TARGET_FPS:g} fps"
            crops = extract_crops(
                encoder,
                opened,
                paths,
                name=video,
                source=source,
                indices=indices,
                show_progress=True,
                interrupt=self.interrupt,
            )
        scores = self._merged([self._score(crop) for crop in crops])
        return Prediction.of_features(crops[0], video, self.class_names, scores, views=views)

    def _predict_clips(self) -> Prediction:
        """Merges the scores of clips, as their test does; their features are not kept."""
        views, video = self.plan.scored_views, self.request.video
        logger.info(
            "the scores of %s are merged, as in the test; features are not kept", views.text or "1 clip"
        )
        read = self.plan.read(FileSource(video, video), decoding_threads())
        # The clips are in the order of channels that the model takes.
        scorer = ClipScorer(self.model, build_encoder(self.model, self.view), self.cfg.MODEL.HEAD_ACT)
        found: list[np.ndarray] = []
        for clip in read.clips:
            self.interrupt.raise_if_requested()
            (scores,) = scorer.score([clip])
            if isinstance(scores, Exception):
                raise scores
            found.append(scores)
        scores = self._merged(found)
        return Prediction(video, read.seconds, read.num_frames, self.class_names, scores, views=views)

    def _score(self, features: VideoFeatures) -> np.ndarray:
        return score_video(self.model, features, head_act=self.cfg.MODEL.HEAD_ACT)

    def _merged(self, scores: Sequence[np.ndarray]) -> np.ndarray:
        return merge_views(scores, self.cfg.DATA.ENSEMBLE_METHOD)

    def _log_frame_rate(self, views: ScoredViews) -> None:
        """Logs the frame rate that was asked for in place of the frames of the test, and the crops."""
        of_test = f" of the {self.plan.crops_of_test} that the test merges" if views.is_middle else ""
        crops = f", in {views.text}{of_test}" if views.text else ""
        logger.info("scored at %g frames per second%s", self.view.fps, crops)

    def _feature_file(self, part: str = "") -> Path:
        """Returns the path of the features, and logs it where the user has not chosen it.

        Args:
            part: end of the names of the files of several crops, for the log.
        """
        if self.request.features:
            return Path(self.request.features)
        path = feature_path(self.request.video, self.cfg.OUTPUT_DIR)
        shown = os.fsencode(path.with_stem(path.stem + part)).decode("utf-8", "backslashreplace")
        logger.info("features of the frames are kept in %s", shown)
        return path


def feature_path(video: str | Path, output_dir: str | Path) -> Path:
    """Returns the feature file of a video: its name and a hash of its path, since names repeat."""
    path_hash = hashlib.sha256(os.fsencode(Path(video).resolve())).hexdigest()[:8]
    return Path(output_dir) / "features" / f"{Path(video).stem}-{path_hash}.npy"
