"""Explanations of predictions, as methods of a predictor."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from slowfast.errors import InputError
from slowfast.interrupt import Interrupt
from slowfast.video.container import without_secrets
from vtn.exported.model import ExportedModel
from vtn.frame_model import FrameModel
from vtn.inference.windows import score_video
from vtn.predictor.prepared import PreparedModel
from vtn.predictor.reading.feature_pass import CropFeatures
from vtn.predictor.scoring import FAILURES, merge_views
from vtn.predictor.texts import describe_failure
from vtn.predictor.videos import FileSource, MissingSource, Video, VideoSource, as_source

if TYPE_CHECKING:
    from vtn.explaining.explanation import Explanation, MergedCrops
    from vtn.explaining.overview import Overview
    from vtn.explaining.split import FaithfulnessRow
    from vtn.explaining.video import ExplanationRequest


class ExplainsVideos(PreparedModel):
    """The part of :class:`vtn.Predictor` that explains what the other methods predict."""

    def explain(
        self,
        video: Video | VideoSource,
        *,
        request: ExplanationRequest | None = None,
        video_fps: float | None = None,
        show_progress: bool = False,
        interrupt: Interrupt | None = None,
    ) -> Explanation:
        """Explains the prediction of a video: attention, influence of each frame, and their faithfulness.

        The frames are those of the prediction, in the middle crop. Where the prediction merges several crops,
        the scores of the explanation are those of the middle crop, and ``notes`` has the prediction's.
        ``write(path)`` of the result makes a page. Other than predictions, explanations must not run in
        several threads at once: some record what the backbone computes.

        Args:
            video: as for :meth:`__call__`.
            request: the class and the parts of the explanation; None: the predicted class, all parts.
            video_fps: as for :meth:`__call__`.
            show_progress: show a progress bar, or log lines, with the remaining time.
            interrupt: checked after each chunk of frames and each batch of passes of the encoder.

        Raises:
            DecodeError, OSError: for a video that cannot be decoded.
            Interrupted: after a signal.
            InputError: for a predictor with ``views``, whose clips are not one sequence; a video of one
                frame; an unknown class; a missing package.
        """
        from vtn.explaining.pictures import playable_video
        from vtn.explaining.video import ExplainedModel, explain_video

        request = self._checked(request)
        passes = self._features
        model = ExplainedModel(passes.encoder, passes.view, self._scorer.head_act, self.class_names)
        source = as_source(video, default_fps=self._cfg.DATA.TARGET_FPS, video_fps=video_fps)
        path = source.place if isinstance(source, FileSource) and type(source.place) is str else ""
        shown: Any = {"show_progress": show_progress, "interrupt": interrupt}
        with passes.read_crops(source, **shown) as (opened, features):
            return explain_video(
                opened,
                features.middle,
                model,
                request,
                name=source.name,
                merged=self._merge_crops(features),
                video_uri=playable_video(path) if path else "",
                **shown,
            )

    def _checked(self, request: ExplanationRequest | None) -> ExplanationRequest:
        """Returns the request, or the default one; raises ``InputError`` for what cannot be explained."""
        from vtn.explaining.explain import find_label
        from vtn.explaining.regions.build import check_regions
        from vtn.explaining.video import ExplanationRequest

        self._check_can_explain()
        if not self._plan.is_full_video:
            raise InputError("views: must be None for explanations, which are of the full video")
        request = ExplanationRequest() if request is None else request
        if not isinstance(request, ExplanationRequest):
            raise InputError(f"request = {request!r}: must be an ExplanationRequest")
        find_label(self.class_names, request.label)
        if request.regions:
            check_regions(self.model)
        return request

    def overview(self, video: Video | VideoSource, *, pictures: bool = True) -> Overview:
        """Predicts a video with its scores over time and the frames to which the model attends.

        The scores of the video are those of :meth:`__call__` up to rounding, of all crops. The scores over
        time and the attention are of the middle crop. The video is decoded once for the frames of its
        prediction, and again for the few that are shown.

        Args:
            video: as for :meth:`__call__`.
            pictures: False: no frame is shown, and none is decoded again.

        Raises:
            DecodeError, OSError: for a video that cannot be decoded.
            InputError: see :meth:`check_overview`.
            NotFiniteError: for scores that are NaN or infinite.
        """
        from vtn.explaining.overview import survey_video

        self.check_overview()
        source = as_source(video, default_fps=self._cfg.DATA.TARGET_FPS)
        with self._features.read_crops(source) as (opened, features):
            return survey_video(
                opened,
                features.middle,
                self.model,
                scores=self._merged_scores(features),
                name=source.name,
                class_names=self.class_names,
                head_act=self._scorer.head_act,
                pictures=pictures,
            )

    def check_overview(self) -> None:
        """Raises ``InputError`` for predictors whose clips or files do not permit an overview."""
        self._check_mode()
        if not self._plan.is_full_video:
            raise InputError("views: must be None for an overview, which is of the full video")
        if isinstance(self.model, ExportedModel) and not self.model.has_parts:
            raise InputError(
                "a model exported to one file has no features for scores over time; export it by "
                "vtn export --parts backbone encoder, or give the published folder"
            )

    def measure_faithfulness(
        self, videos: Iterable[Video | VideoSource]
    ) -> Generator[FaithfulnessRow, None, None]:
        """Yields for each video how faithful the rankings of its frames are, for the predicted class.

        Predicted by the middle crop alone, which is explained. A video that cannot be measured has a row with
        ``error`` and does not end the work; see :mod:`vtn.explaining.split`.
        """
        from vtn.explaining.split import FaithfulnessRow, measure_row

        check_many(videos)
        self._check_can_explain()
        for source in map(self._source, videos):
            try:
                with self._features.read(source, of_test=True) as (_, features):
                    row = measure_row(self.model, features, name=source.name, head_act=self._scorer.head_act)
            except FAILURES as error:
                row = FaithfulnessRow(source.name, error=describe_failure(error, source.name))
            yield row

    def _source(self, video: Video | VideoSource) -> VideoSource:
        """Returns the source of one of many videos, which raises the error where it is not a video."""
        try:
            return as_source(video, default_fps=self._cfg.DATA.TARGET_FPS)
        except InputError as error:
            name = f"<{type(video).__name__}>"
            if isinstance(video, str | os.PathLike):
                name = without_secrets(os.fsdecode(video))
            return MissingSource(name, describe_failure(error, name))

    def _merge_crops(self, features: CropFeatures) -> MergedCrops | None:
        """Returns the prediction of a video from the features of its crops; None for a single crop."""
        from vtn.explaining.explanation import MergedCrops

        count = len(features.crops)
        return MergedCrops(count, self._merged_scores(features)) if count > 1 else None

    def _merged_scores(self, features: CropFeatures) -> np.ndarray:
        """Returns the scores (K,) of a video from the features of its crops, as the test merges them."""
        scores = [score_video(self.model, crop, head_act=self._scorer.head_act) for crop in features.crops]
        return merge_views(scores, self._cfg.DATA.ENSEMBLE_METHOD)

    def _check_can_explain(self) -> None:
        """Raises ``InputError`` for exported models, which have no weights of their own."""
        self._check_mode()
        if not isinstance(self.model, FrameModel):
            raise InputError(
                "an exported model cannot be explained, since it gives neither attention nor gradients; give "
                "the published folder or the checkpoint that it was exported from"
            )


def check_many(videos: object) -> None:
    """Raises ``InputError`` for a single path, or another object, in place of many videos."""
    if isinstance(videos, str | bytes | os.PathLike) or not isinstance(videos, Iterable):
        raise InputError(
            f"videos is of type {type(videos).__name__}: must be a list or another iterable of videos; for "
            "one path give [path]"
        )
