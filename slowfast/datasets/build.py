"""The registry of data sets and the door through which they are built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from slowfast.datasets.annotations import Annotations
from slowfast.datasets.clip import Clip, ReadClip
from slowfast.datasets.readers import READERS, AnnotationSource
from slowfast.datasets.video_dataset import FeatureOrigin, Reader, VideoDataset
from slowfast.datasets.views.augment import Augmentation
from slowfast.datasets.views.original import OriginalViewReader
from slowfast.datasets.views.shared_crops import SharedCropsReader
from slowfast.datasets.views.streamed_view import StreamedViewReader
from slowfast.datasets.views.view_reader import ClipViews, TrainingViews, ViewReader, WholeVideoViews
from slowfast.errors import ConfigError
from slowfast.log import get_logger
from slowfast.registry import Registry, import_user_modules
from slowfast.video.decoding import OpenVideo, describe_backend, open_video
from slowfast.video.image_folder import ImageFolder

_logger = get_logger(__name__)

DATASET_REGISTRY: Registry[Callable[[Any, str], Annotations]] = Registry("data set", "TRAIN.DATASET")
"""Readers of annotations: ``(cfg, split) -> Annotations``, where split is "train", "val" or "test"."""


def _read(reader: Callable[[AnnotationSource], Annotations], cfg: Any, split: str) -> Annotations:
    return reader(
        AnnotationSource(
            folder=cfg.DATA.PATH_TO_DATA_DIR,
            split=split,
            num_classes=cfg.MODEL.NUM_CLASSES,
            prefix=cfg.DATA.PATH_PREFIX,
            separator=cfg.DATA.PATH_LABEL_SEPARATOR,
            multi_label=cfg.DATA.MULTI_LABEL,
            fold=cfg.DATA.FOLD,
            image_fps=cfg.DATA.IMAGE_FPS,
        )
    )


for _name, _reader in READERS.items():
    DATASET_REGISTRY.register(_name)(partial(_read, _reader))


@dataclass(frozen=True)
class ReaderRequest:
    """Arguments of a function that builds a reader of views.

    Attributes:
        position_rate, feature_dim, streamed_views: see :func:`build_dataset`.
    """

    split: str
    annotations: Annotations
    scheme: TrainingViews | ClipViews | WholeVideoViews
    position_rate: float | None = None
    feature_dim: int | None = None
    streamed_views: bool = False


@dataclass(frozen=True)
class BuiltReader:
    """A reader of views, and how an item is made of what it reads.

    Attributes:
        make_clip, features: see :class:`VideoDataset`.
    """

    reader: Reader
    make_clip: Callable[..., ReadClip] = Clip
    features: FeatureOrigin | None = None


READER_REGISTRY: Registry[Callable[[Any, ReaderRequest], BuiltReader]] = Registry(
    "reader of views", "DATA.FEATURES"
)
"""Builders of readers: ``(cfg, request) -> BuiltReader``. The data set and ``DATA`` decide which is used."""


@READER_REGISTRY.register("frames")
def _build_frame_reader(cfg: Any, request: ReaderRequest) -> BuiltReader:
    view_reader = SharedCropsReader if request.scheme.num_crops > 1 else ViewReader
    reader = view_reader(
        request.scheme,
        request.position_rate,
        video_opener(request.annotations, cfg.DATA.DECODING_BACKEND),
        _augmentation(cfg) if request.split == "train" else None,
    )
    if request.streamed_views and request.split != "train" and cfg.TRAIN.EVAL_STREAM_FRAMES:
        return BuiltReader(StreamedViewReader(reader, limit=cfg.TRAIN.EVAL_STREAM_FRAMES))
    return BuiltReader(reader)


@READER_REGISTRY.register("original")
def _build_original_reader(cfg: Any, request: ReaderRequest) -> BuiltReader:
    if request.annotations.segments is not None or request.annotations.image_fps is not None:
        name = cfg.TEST.DATASET if request.split == "test" else cfg.TRAIN.DATASET
        raise ConfigError(
            "DATA.ORIGINAL_SEMANTICS = True: the original reads whole video files, but the data set "
            f"{name!r} has parts of files, or folders of images; set it False"
        )
    scheme = request.scheme
    assert not isinstance(scheme, TrainingViews)  # this reader is for evaluation
    return BuiltReader(OriginalViewReader(scheme))


def build_dataset(
    cfg: Any,
    split: str,
    *,
    position_rate: float | None = None,
    streamed_views: bool = False,
    feature_dim: int | None = None,
) -> VideoDataset:
    """Builds the data set of a split ("train", "val", "test"); see :class:`VideoDataset` for its items.

    Args:
        position_rate: the model's; None: positions are frame indices.
        streamed_views: in evaluation, views of more than ``TRAIN.EVAL_STREAM_FRAMES`` frames are only planned,
            and their items are :class:`slowfast.datasets.clip.StreamedClip`.
        feature_dim: the model's, for data sets of features.

    Raises:
        ConfigError: for an unknown name; for a cache of features that was made in another way.
        AnnotationError: for annotations that cannot be read.
    """
    import_user_modules(cfg.IMPORTS)
    name = cfg.TEST.DATASET if split == "test" else cfg.TRAIN.DATASET
    annotations = DATASET_REGISTRY.get(name)(cfg, split)
    scheme = view_scheme(cfg, split)
    if annotations.features:
        source = "feature_files"
    elif cfg.DATA.FEATURES:
        source = "feature_cache"
    elif cfg.DATA.ORIGINAL_SEMANTICS and split != "train":
        source = "original"
    else:
        source = "frames"
    request = ReaderRequest(split, annotations, scheme, position_rate, feature_dim, streamed_views)
    built = READER_REGISTRY.get(source)(cfg, request)
    return VideoDataset(
        annotations,
        built.reader,
        num_temporal=scheme.num_temporal,
        num_crops=scheme.num_crops,
        substitute=split == "train",
        seed=cfg.RNG_SEED,
        shuffle_frames=split == "test" and cfg.TEST.SHUFFLE_FRAMES,
        reverse_channels=cfg.DATA.REVERSE_INPUT_CHANNEL and built.features is None,
        make_clip=built.make_clip,
        features=built.features,
    )


def video_opener(annotations: Annotations, backend: str) -> Callable[[str], OpenVideo]:
    """Returns what opens the videos of a data set."""
    if annotations.image_fps is not None:
        return partial(ImageFolder, fps=annotations.image_fps)
    _logger.info("videos are decoded by %s", describe_backend(backend))
    return partial(open_video, backend=backend)


def _augmentation(cfg: Any) -> Augmentation | None:
    if not cfg.AUG.ENABLE:
        return None
    return Augmentation(
        auto_augment=cfg.AUG.AA_TYPE,
        interpolation=cfg.AUG.INTERPOLATION,
        color_jitter=0.0 if cfg.AUG.AA_TYPE else cfg.AUG.COLOR_JITTER,
        erase_prob=cfg.AUG.RE_PROB,
        erase_mode=cfg.AUG.RE_MODE,
        erase_count=cfg.AUG.RE_COUNT,
        mean=cfg.DATA.MEAN,
        std=cfg.DATA.STD,
    )


def _range(values: Sequence[float]) -> tuple[float, float] | None:
    """Least and largest value; None for an empty list."""
    return (values[0], values[1]) if values else None


def view_scheme(cfg: Any, split: str) -> TrainingViews | ClipViews | WholeVideoViews:
    """The views of a split, as PySlowFast sizes them; val is a test with one view."""
    data = cfg.DATA
    if data.INTERPOLATION == "backbone" or 0 in (data.TRAIN_CROP_SIZE, data.TEST_CROP_SIZE):
        raise ConfigError(
            f"DATA.INTERPOLATION = {data.INTERPOLATION!r}: it, or a crop size, is the model's; "
            "give the configuration that slowfast.models.frame_format.adopt_frame_format returns"
        )
    if split == "train":
        return TrainingViews(
            num_frames=data.NUM_FRAMES,
            sampling_rate=data.SAMPLING_RATE,
            target_fps=data.TARGET_FPS,
            short_sides=(data.TRAIN_JITTER_SCALES[0], data.TRAIN_JITTER_SCALES[1]),
            crop_size=data.TRAIN_CROP_SIZE,
            flip=data.RANDOM_FLIP,
            inverse_uniform=data.INV_UNIFORM_SAMPLE,
            crop_area=_range(data.TRAIN_JITTER_SCALES_RELATIVE),
            crop_aspect=_range(data.TRAIN_JITTER_ASPECT_RELATIVE) or (3 / 4, 4 / 3),
            interpolation=data.INTERPOLATION,
        )
    crops = cfg.TEST.NUM_SPATIAL_CROPS if split == "test" else 1
    short_side = data.TEST_CROP_SIZE if crops > 1 else min(data.TRAIN_JITTER_SCALES)
    if cfg.TRAIN.EVAL_FULL_VIDEO:
        return WholeVideoViews(
            num_frames=cfg.TRAIN.EVAL_NUM_FRAMES,
            target_fps=data.TARGET_FPS,
            short_side=short_side,
            crop_size=data.TEST_CROP_SIZE,
            num_crops=crops,
            interpolation=data.INTERPOLATION,
        )
    return ClipViews(
        num_frames=data.NUM_FRAMES,
        sampling_rate=data.SAMPLING_RATE,
        target_fps=data.TARGET_FPS,
        short_side=short_side,
        crop_size=data.TEST_CROP_SIZE,
        num_temporal=cfg.TEST.NUM_ENSEMBLE_VIEWS if split == "test" else 1,
        num_crops=crops,
        centre=split == "val",
        interpolation=data.INTERPOLATION,
    )
