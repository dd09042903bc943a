"""The registry of data sets, and the function that builds one from a configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from fvcore.common.config import CfgNode

from slowfast.config.derived import dataset_key, dataset_name, require_config
from slowfast.datasets.annotations import Annotations
from slowfast.datasets.clip import Clip, ReadClip
from slowfast.datasets.map_dataset import MapDataset
from slowfast.datasets.readers import READERS, AnnotationSource
from slowfast.datasets.video_dataset import FeatureOrigin, Reader, VideoDataset, ViewDataset
from slowfast.datasets.views.build import build_augmentation, build_views
from slowfast.datasets.views.frame_order import GIVEN, SHUFFLED
from slowfast.datasets.views.original import OriginalViewReader
from slowfast.datasets.views.shared_crops import SharedCropsReader
from slowfast.datasets.views.view_reader import ClipViews, TrainingViews, ViewReader, WholeVideoViews
from slowfast.errors import AnnotationError, ConfigError
from slowfast.log import get_logger, log_once
from slowfast.models.clip_grid import ClipGrid
from slowfast.registry import Registry, import_user_modules
from slowfast.video.decoding import OpenVideo, describe_backend, open_naming_truncated
from slowfast.video.image_folder import ImageFolder, check_template

_logger = get_logger(__name__)

_CHARADES = (
    "use kinetics with DATA.MULTI_LABEL True, and lists with all labels of a video in its line, which "
    "`slowfast prepare make-csv` makes of Charades' own csv files"
)
_FOREIGN = {
    "ava": "detection (AVA) is not supported",
    "charades": _CHARADES,
    "imagenet": "data sets of images are not supported",
    "ptvcharades": _CHARADES,
    "ptvkinetics": "use kinetics, which reads the same lists",
    "ptvssv2": "use ssv2, which reads the same files",
}
"""Data sets of PySlowFast that are not here -> the remedy."""

DATASET_REGISTRY: Registry[Callable[[CfgNode, str], Any]] = Registry(
    "data set", "TRAIN.DATASET", _FOREIGN, arguments=("cfg", "split")
)
"""Functions or classes called as ``(cfg, split)``, where split is "train", "val" or "test".

They return :class:`~slowfast.datasets.annotations.Annotations`, so that the framework reads the videos, or a
map-style ``torch.utils.data.Dataset`` of clips; :class:`~slowfast.datasets.map_dataset.MapDataset` lists
what it needs. A file named in ``IMPORTS`` registers its own with ``@DATASET_REGISTRY.register()``.
"""


def _read(reader: Callable[[AnnotationSource], Annotations], cfg: CfgNode, split: str) -> Annotations:
    if cfg.DATA.IMAGE_TEMPLATE and (problem := check_template(cfg.DATA.IMAGE_TEMPLATE)):
        raise ConfigError(f"DATA.IMAGE_TEMPLATE = {cfg.DATA.IMAGE_TEMPLATE!r}: {problem}")
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
            image_template=cfg.DATA.IMAGE_TEMPLATE,
            shuffle_shards=cfg.DATA.SHUFFLE_SHARDS,
        )
    )


for _name, _reader in READERS.items():
    DATASET_REGISTRY.register(_name)(partial(_read, _reader))


@dataclass(frozen=True)
class ReaderRequest:
    """The arguments of a function that builds a reader of views.

    Attributes:
        split: "train", "val" or "test".
        annotations: the videos to read.
        scheme: the views of each video.
        position_rate, feature_shape, streamed_views, clip_grid: see :func:`build_dataset`.
    """

    split: str
    annotations: Annotations
    scheme: TrainingViews | ClipViews | WholeVideoViews
    position_rate: float | None = None
    feature_shape: tuple[int, ...] | None = None
    streamed_views: bool = False
    clip_grid: ClipGrid | None = None


@dataclass(frozen=True)
class BuiltReader:
    """A reader of views, and the function that builds an item from its result.

    Attributes:
        reader: reads the views.
        make_clip, features: see :class:`VideoDataset`.
    """

    reader: Reader
    make_clip: Callable[..., ReadClip] = Clip
    features: FeatureOrigin | None = None


READER_REGISTRY: Registry[Callable[[CfgNode, ReaderRequest], BuiltReader]] = Registry(
    "reader of views", "DATA.FEATURES"
)
"""Builders of readers: ``(cfg, request) -> BuiltReader``; :func:`build_dataset` chooses one."""


@READER_REGISTRY.register("frames")
def _build_frame_reader(cfg: CfgNode, request: ReaderRequest) -> BuiltReader:
    view_reader = SharedCropsReader if request.scheme.num_crops > 1 else ViewReader
    streams = request.streamed_views and request.split != "train"
    reader = view_reader(
        request.scheme,
        request.position_rate,
        video_opener(request.annotations, cfg.DATA.DECODING_BACKEND),
        build_augmentation(cfg) if request.split == "train" else None,
        request.clip_grid,
        cfg.TRAIN.EVAL_STREAM_FRAMES if streams else 0,
    )
    return BuiltReader(reader)


@READER_REGISTRY.register("original")
def _build_original_reader(cfg: CfgNode, request: ReaderRequest) -> BuiltReader:
    if request.annotations.segments is not None or request.annotations.image_fps is not None:
        raise ConfigError(
            "DATA.ORIGINAL_SEMANTICS = True: the data set must consist of full video files, but "
            f"{dataset_name(cfg, request.split)!r} has segments of files, or folders of images; set it to "
            "False"
        )
    scheme = request.scheme
    assert not isinstance(scheme, TrainingViews)  # build_dataset uses this reader in evaluation only
    return BuiltReader(OriginalViewReader(scheme))


def read_lists(cfg: CfgNode, *splits: str) -> dict[str, Annotations]:
    """Reads the annotations of splits before there is a model, so that their errors cost no download.

    A user's own data set is left out: it may ask for the size of frames, which the model may decide.

    Raises:
        AnnotationError: for annotations that cannot be read.
    """
    return {split: _build_registered(cfg, split) for split in splits if dataset_name(cfg, split) in READERS}


def read_annotations(cfg: CfgNode, split: str) -> Annotations:
    """Reads the annotations of a split of the data set that the configuration names.

    Raises:
        ConfigError: for an unknown name, and for a data set that has clips instead of annotations.
        AnnotationError: for annotations that cannot be read.
    """
    found = _build_registered(cfg, split)
    if not isinstance(found, Annotations):
        raise ConfigError(
            f"{_describe_choice(cfg, split)}: {type(found).__name__} is a data set of clips, which are read "
            "by its own code; register a function that returns slowfast.datasets.annotations.Annotations"
        )
    return found


def _describe_choice(cfg: CfgNode, split: str) -> str:
    """Returns the key that names the data set of a split, with its value, for messages."""
    return f"{dataset_key(split)} = {dataset_name(cfg, split)!r}"


def _build_registered(cfg: CfgNode, split: str) -> Any:
    """Calls the entry of ``DATASET_REGISTRY`` that the configuration names."""
    require_config(cfg)
    import_user_modules(cfg.IMPORTS)
    name = dataset_name(cfg, split)
    # PySlowFast registers classes under their names and looks them up with a capital letter.
    if name not in DATASET_REGISTRY and name.capitalize() in DATASET_REGISTRY:
        name = name.capitalize()
    try:
        return DATASET_REGISTRY.get(name, dataset_key(split))(cfg, split)
    except AnnotationError as error:
        if name in READERS:  # its messages name the file
            raise
        raise AnnotationError(f"{dataset_key(split)} = {name!r}, split {split}: {error}") from error


def build_dataset(
    cfg: CfgNode,
    split: str,
    *,
    position_rate: float | None = None,
    streamed_views: bool = False,
    feature_shape: tuple[int, ...] | None = None,
    clip_grid: ClipGrid | None = None,
    annotations: Annotations | None = None,
) -> ViewDataset:
    """Builds the data set of a split ("train", "val", "test").

    Args:
        position_rate: the model's, in positions per second; None: positions are frame indices.
        streamed_views: in evaluation, views of more than ``TRAIN.EVAL_STREAM_FRAMES`` frames are planned but
            not decoded, and their items are :class:`slowfast.datasets.clip.StreamedClip`.
        feature_shape: shape (F,) or (M, F) of a frame's features in the model, for data sets of features.
        clip_grid: clips and time steps of a model that encodes clips; None: single frames.
        annotations: those of the split by :func:`read_lists`; None: they are read here.

    Returns:
        A :class:`VideoDataset`; for a user's data set of clips a :class:`MapDataset`.

    Raises:
        ConfigError: for an unknown name; for a cache of features that was made with other settings.
        AnnotationError: for annotations that cannot be read.
        DataError: for a user's data set that lacks something.
    """
    found = _build_registered(cfg, split) if annotations is None else annotations
    if not isinstance(found, Annotations):
        return _adapt_map_dataset(cfg, split, found, position_rate)
    views = build_views(cfg, split)
    request = ReaderRequest(split, found, views, position_rate, feature_shape, streamed_views, clip_grid)
    built = READER_REGISTRY.get(_choose_reader(cfg, request))(cfg, request)
    return VideoDataset(
        found,
        built.reader,
        substitute=split == "train",
        seed=cfg.RNG_SEED,
        frame_order=_configured_order(cfg, split),
        reverse_channels=cfg.DATA.REVERSE_INPUT_CHANNEL and built.features is None,
        make_clip=built.make_clip,
        features=built.features,
    )


def _choose_reader(cfg: CfgNode, request: ReaderRequest) -> str:
    if request.annotations.features:
        return "feature_files"
    if cfg.DATA.FEATURES:
        return "feature_cache"
    return "original" if cfg.DATA.ORIGINAL_SEMANTICS and request.split != "train" else "frames"


def _configured_order(cfg: CfgNode, split: str) -> str:
    return SHUFFLED if split == "test" and cfg.TEST.SHUFFLE_FRAMES else GIVEN


def _adapt_map_dataset(cfg: CfgNode, split: str, dataset: Any, position_rate: float | None) -> MapDataset:
    if cfg.DATA.FEATURES:
        raise ConfigError(
            f"DATA.FEATURES = {cfg.DATA.FEATURES!r}: must be '', because {_describe_choice(cfg, split)} is a "
            "data set of clips; or register a function that returns slowfast.datasets.annotations.Annotations"
        )
    if cfg.DATA.TEST_WHOLE_PICTURE and split == "test":
        raise ConfigError(
            f"DATA.TEST_WHOLE_PICTURE = True: must be False, because {_describe_choice(cfg, split)} is a "
            "data set of clips, which chooses their size itself"
        )
    if cfg.AUG.ENABLE and split == "train":
        _logger.warning(
            "%s is a data set of clips: AUG.AA_TYPE, AUG.COLOR_JITTER and AUG.RE_PROB do not apply",
            _describe_choice(cfg, split),
        )
    # The frames of a clip are SAMPLING_RATE frames apart at TARGET_FPS.
    rate = 1.0 if position_rate is None else position_rate / cfg.DATA.TARGET_FPS
    return MapDataset(
        dataset,
        name=dataset_name(cfg, split),
        num_classes=cfg.MODEL.NUM_CLASSES,
        position_step=cfg.DATA.SAMPLING_RATE * rate,
        mean=cfg.DATA.MEAN,
        std=cfg.DATA.STD,
        substitute=split == "train",
        seed=cfg.RNG_SEED,
        frame_order=_configured_order(cfg, split),
    )


def video_opener(annotations: Annotations, backend: str) -> Callable[[str], OpenVideo]:
    """Returns the function that opens a video of a data set."""
    if annotations.image_fps is not None:
        return partial(ImageFolder, fps=annotations.image_fps, template=annotations.image_template)
    log_once(_logger, f"decoder of videos: {describe_backend(backend)}")
    return partial(open_naming_truncated, backend=backend)
