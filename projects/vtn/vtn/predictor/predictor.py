"""One call from a video to an answer: :class:`Predictor`.

T frames, H W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from numbers import Integral
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from slowfast.distributed.host import usable_cores
from slowfast.errors import DecodeError, InputError, check_positive, counted
from slowfast.models.precision import DTYPES
from slowfast.video.container import without_secrets
from vtn.exported.model import ExportedModel
from vtn.frame_model import FrameModel
from vtn.inference.extract import DECODING_THREADS
from vtn.inference.prediction import Prediction
from vtn.inference.stream import VideoStream
from vtn.inference.windows import score_video, score_windows, window_lengths
from vtn.predictor.explained import ExplainsVideos, check_many
from vtn.predictor.live.frames import LiveFrames
from vtn.predictor.pipeline import Pipeline, ScoredVideo
from vtn.predictor.reading.decoders import Decoders
from vtn.predictor.reading.isolated_video import IsolatedSource, check_isolated
from vtn.predictor.reading.reader import read_in_threads
from vtn.predictor.scoring import attempt, merge_views
from vtn.predictor.source import adopt_config, load_source
from vtn.predictor.texts import describe_failure, failure_reason
from vtn.predictor.videos import Video, VideoSource, as_source
from vtn.predictor.views import ReadVideo


class Predictor(ExplainsVideos):
    """A model that turns videos into class scores, with the frames that its test would choose.

    A video is scored as a whole by default; scores in float32 are those of the engine's test of the same
    weights, bit for bit where batches have the same size, and else up to rounding.

    May be called from several threads: calls share the weights, which none of them changes, and each call
    decodes its own videos. A given model is moved to ``device`` and set to evaluation mode; do not train it
    while it predicts.

    Args:
        source: a folder that ``vtn publish`` or ``save_pretrained`` wrote, ``OWNER/NAME`` of a model on the
            Hugging Face hub, a checkpoint with its configuration inside, a file or folder that ``vtn export``
            wrote, or a model of this package.
        config: name or path of a configuration, for weights that come without one.
        imports: modules or Python files that register parts of the model; a file of weights never imports
            any by itself.
        backbone: name of the backbone where its description lies in a folder or on a hub, which a file of
            weights must not choose.
        trust_code: whether an archive of torch.export (``.pt2``) may be opened, which can run code.
        device: such as ``cuda:1``; None: a GPU where there is one, else the CPU.
        precision: ``float32``, or ``bfloat16`` or ``float16``, which are faster on GPUs.
        views: clips per video and crops per clip, whose scores are merged; None: the full video.
        fps: frames per second of the full video; None: the frames of the test.
        batch_size: views that the model scores together.
        workers: videos that are decoded at the same time in :meth:`stream`.

    Attributes:
        model: in evaluation mode on ``device``.
        class_names: K names in the order of the scores; numbers where the weights come without names.

    Raises:
        CheckpointError: for a source that does not exist, is damaged, or must not be acted on.
        ConfigError, ModelError, InputError: for a model that cannot be built, and unsuitable arguments.

    >>> import numpy as np
    >>> import vtn
    >>> model = vtn.create_model("QUICKSTART", num_classes=3)  # or the path of trained weights
    >>> predictor = Predictor(model, device="cpu")
    >>> result = predictor(np.zeros((12, 48, 64, 3), np.uint8))  # or the path of a video
    >>> result.num_frames, result.seconds, result.scores.shape, len(result.top(2))
    (8, 0.48, (3,), 2)
    >>> [bool(result.error) for result in predictor.stream(["missing.mp4"])]
    [True]
    """

    def __init__(
        self,
        source: str | Path | FrameModel | ExportedModel,
        *,
        config: str | Path = "",
        imports: Sequence[str] = (),
        backbone: str = "",
        trust_code: bool = False,
        device: str | torch.device | None = None,
        precision: str = "float32",
        views: tuple[int, int] | None = None,
        fps: float | None = None,
        batch_size: int = 8,
        workers: int | None = None,
    ) -> None:
        if precision not in [*DTYPES]:  # a list cannot be looked up in a mapping
            raise InputError(f"precision = {precision!r}: must be one of {', '.join(DTYPES)}")
        for option, number in (("batch_size", batch_size), ("workers", 1 if workers is None else workers)):
            if not (isinstance(number, Integral) and number > 0):
                raise InputError(f"{option} = {number!r}: must be 1 or more, as a whole number")
        model: Any = source
        if not isinstance(source, FrameModel | ExportedModel):
            model = load_source(
                source, config=config, imports=imports, backbone=backbone, trust_code=trust_code
            )
        elif imports or backbone:
            raise InputError(
                "imports, backbone: must be left out for a model, which is built already; they are for a path"
            )
        elif config:
            adopt_config(model, config)
        name = str(source) if isinstance(source, str | Path) else type(model).__name__
        super().__init__(model, name, device=device, precision=precision, views=views, fps=fps)
        self._workers = workers or min(4, usable_cores())
        self._pipeline = Pipeline(self._plan.num_views, self._scorer, batch_size)

    def __repr__(self) -> str:
        """Returns the model, its classes, and where and how it computes."""
        encoder, classes = self._scorer.encoder, counted(len(self.class_names), "class", "classes")
        return f"<Predictor of {type(self.model).__name__}: {classes}, {encoder.device}, {encoder.precision}>"

    def __call__(
        self,
        video: Video | VideoSource,
        *,
        window_seconds: float | None = None,
        stride_seconds: float | None = None,
        video_fps: float | None = None,
    ) -> Prediction:
        """Predicts one video.

        Args:
            video: a path; an ``http(s)://`` address; an open, seekable binary file; or frames (T, H, W, 3)
                uint8 RGB as an array or tensor.
            window_seconds: length of windows that are scored as well, see :meth:`stream`.
            stride_seconds: from the start of a window to the start of the next; None: ``window_seconds``.
            video_fps: frames per second of frames in memory; None: those of the clips that the model was
                trained with, before every ``DATA.SAMPLING_RATE``-th is taken.

        Raises:
            DecodeError, OSError: for a video that cannot be decoded.
            InputError: for unsuitable arguments, and for a model that was set to training mode.
            NotFiniteError: for scores that are NaN or infinite.
        """
        windows = window_lengths(window_seconds, stride_seconds)
        source = as_source(video, default_fps=self._cfg.DATA.TARGET_FPS, video_fps=video_fps)
        ((_, result),) = self._predict([source], windows, workers=1, threads=DECODING_THREADS)
        if isinstance(result, Exception):
            raise result
        return result

    def stream(
        self,
        videos: Iterable[Video | VideoSource],
        *,
        window_seconds: float | None = None,
        stride_seconds: float | None = None,
        time_limit: float | None = None,
    ) -> Generator[Prediction, None, None]:
        """Yields the predictions of many videos in order, while threads decode the next ones.

        A video that cannot be predicted has a prediction with ``error`` and does not end the work. Results
        come in batches of ``batch_size`` views.

        Args:
            videos: as for :meth:`__call__`; may be an iterator without an end.
            window_seconds: also score windows of this length. The frames of the video and of its windows are
                then those at ``fps``, by default at the frame rate of the clips that the model was trained
                with. Videos are then decoded and scored one after another.
            stride_seconds: from the start of a window to the start of the next; None: ``window_seconds``.
            time_limit: seconds for reading one video, in processes of their own: a decoder that hangs or
                crashes then costs one video. Where the video is decoded while the model runs, as for windows
                and for views of very many frames, they are for each chunk of its frames. ``videos`` must be
                paths or addresses, and have an end. None: threads, without a limit.

        Raises:
            InputError: for lengths and a limit that are not above 0, for a limit with other videos than paths
                and addresses, and for a single path in place of many.
        """
        check_many(videos)
        windows = window_lengths(window_seconds, stride_seconds)
        if time_limit is not None:
            videos = check_isolated([*videos], time_limit)
        sources = map(self._source, videos)
        results = self._predict(sources, windows, workers=self._workers, threads=1, time_limit=time_limit)
        for name, result in results:
            if isinstance(result, Exception):
                problem = describe_failure(result, name)
                yield Prediction.failed(name, self.class_names, problem, failure_reason(result))
            else:
                yield result

    def follow(
        self, video: str | int | Path, *, last_seconds: float, every_seconds: float = 1.0
    ) -> Generator[Prediction, None, None]:
        """Yields predictions of a camera or stream while its frames come, each of its last seconds.

        The attribute ``seconds`` of a prediction is the time of the newest frame since the first one. Frames
        are taken at ``fps``, by default at the frame rate of the clips that the model was trained with; each
        is encoded once. Frames that come while the model is busy are left out, and so are those that cannot
        be decoded. Where the timestamps of the source restart, time continues; a gap in them is a pause. A
        stream of the network that is lost is connected again, and the time without it counts.

        Args:
            video: number of a camera, such as 0; an address, such as ``rtsp://…``; or the path of a file.
            last_seconds: duration that is scored.
            every_seconds: from one prediction to the next.

        Raises:
            DecodeError: for a source that cannot be opened or read, or not be decoded any more; for a stream
                of the network after 300 s without a frame.
            InputError: for durations that are not above 0.
        """
        check_positive(last_seconds=last_seconds, every_seconds=every_seconds)
        self._check_mode()
        video = str(video)
        view, name = self._features.view, without_secrets(video)
        frames = LiveFrames(video, view.variant.placer, fps=view.fps, seconds=every_seconds)
        stream = VideoStream(self.model, keep_seconds=last_seconds, head_act=self._scorer.head_act)
        with closing(stream.follow(self._plan.in_channel_order(frames))) as updates:
            while True:
                with self._scorer.encoder.precision.autocast():
                    if (now := next(updates, None)) is None:
                        return
                    scores = stream.scores()
                frames.num_taken += 1
                yield Prediction(
                    name, now, len(stream), self.class_names, scores, views=self._plan.middle_crop
                )

    def _predict(
        self,
        sources: Iterable[VideoSource],
        windows: tuple[float, float] | None,
        *,
        workers: int,
        threads: int,
        time_limit: float | None = None,
    ) -> Iterator[tuple[str, Prediction | Exception]]:
        """Yields the name of each video in order, with its prediction or the reason why it has none."""
        self._check_mode()
        limited = [] if time_limit is None else [*sources]
        with closing(Decoders(min(workers if windows is None else 1, len(limited)))) as decoders:
            if time_limit is not None:
                sources = [IsolatedSource(source, time_limit, decoders) for source in limited]
            if windows is not None:
                for source in sources:
                    yield source.name, attempt(self._predict_windows, source, windows)
                return
            readings = read_in_threads(
                self._plan, sources, workers=workers, threads=threads, stop=decoders.close
            )
            yield from ((video.source.name, self._result(video)) for video in self._pipeline.run(readings))

    def _result(self, video: ScoredVideo) -> Prediction | Exception:
        """Returns the prediction of a video from the scores of its views, or the reason why it has none."""
        error = next((one for one in video.scores if isinstance(one, Exception)), None)
        if error is None:
            read = cast(ReadVideo, video.found)
            merged = merge_views(cast(list[np.ndarray], video.scores), self._cfg.DATA.ENSEMBLE_METHOD)
            return Prediction(
                video.source.name,
                read.seconds,
                read.num_frames,
                self.class_names,
                merged,
                views=self._plan.scored_views,
            )
        if isinstance(error, DecodeError) and error.reason == "corrupt" and self._plan.is_full_video:
            return attempt(self._predict_decodable, video.source)
        return error

    def _predict_windows(self, source: VideoSource, windows: tuple[float, float]) -> Prediction:
        """Predicts a video and its windows from features of the middle crop, on the disk meanwhile."""
        head_act = self._scorer.head_act
        with self._features.read(source, of_test=False) as (_, features):
            scores = score_video(self.model, features, head_act=head_act)
            timeline = score_windows(self.model, features, *windows, head_act=head_act)
            return Prediction.of_features(
                features,
                source.name,
                self.class_names,
                scores,
                timeline=timeline,
                views=self._plan.middle_crop,
            )

    def _predict_decodable(self, source: VideoSource) -> Prediction:
        """Predicts a video as its test would, without the frames that cannot be decoded."""
        with self._features.read_crops(source) as (_, features):
            scores = self._merged_scores(features)
            return Prediction.of_features(
                features.middle, source.name, self.class_names, scores, views=self._plan.scored_views
            )
