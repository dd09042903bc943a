"""Keys of PySlowFast that this program does not read.

``SECTIONS`` and ``KEYS`` are accepted, and one warning lists them: they belong to detection, to
self-supervision, to display, or to workarounds that are not needed. ``FIXED_KEYS`` change the results of
PySlowFast, and one of their values describes what this program does; another one is refused, or a warning
states the difference.

A dotted name stands for a key, or for a section with all of its keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # keeps `--help` fast
    from fvcore.common.config import CfgNode

SECTIONS = frozenset(
    {
        *("AVA", "ASYNC", "BENCHMARK", "CONTRASTIVE", "DETECTION", "MASK", "MULTIGRID", "PREFETCH", "SSL"),
        *("TENSORBOARD.HISTOGRAM", "VIS_MASK"),
    }
)

# Section -> its keys.
_KEYS = {
    "AUG": "MASK_FRAMES MASK_RATIO MASK_TUBE MASK_WINDOW_SIZE MAX_MASK_PATCHES_PER_BLOCK RE_SPLIT",
    "BN": "GLOBAL_SYNC NUM_BATCHES_PRECISE NUM_SPLITS",
    "DATA": "CROP_SIZE DECODING_SHORT_SIZE IN22K_TRAINVAL IN22k_VAL_IN1K IN_VAL_CROP_RATIO "
    "LOADER_CHUNK_OVERALL_SIZE PATH_TO_PRELOAD_IMDB SSL_BLUR_SIGMA_MAX SSL_BLUR_SIGMA_MIN "
    "SSL_COLOR_BRI_CON_SAT SSL_COLOR_HUE SSL_MOCOV2_AUG TRAIN_PCA_EIGVAL TRAIN_PCA_EIGVEC "
    "USE_OFFSET_SAMPLING",
    "DATA_LOADER": "ENABLE_MULTI_THREAD_DECODE",
    "DEMO": "CLIP_VIS_SIZE COMMON_CLASS_NAMES COMMON_CLASS_THRES DETECTRON2_CFG DETECTRON2_THRESH "
    "DETECTRON2_WEIGHTS FPS GT_BOXES INPUT_FORMAT NUM_CLIPS_SKIP NUM_VIS_INSTANCES PREDS_BOXES SLOWMO "
    "STARTING_SECOND THREAD_ENABLE UNCOMMON_CLASS_THRES VIS_MODE",
    "MODEL": "ACT_CHECKPOINT FP16_ALLREDUCE MULTI_PATHWAY_ARCH SINGLE_PATHWAY_ARCH",
    "SOLVER": "GAMMA STEP_SIZE WARMUP_FACTOR",
    "TENSORBOARD": "CATEGORIES_PATH PREDICTIONS_PATH",
    "TENSORBOARD.CONFUSION_MATRIX": "FIGSIZE SUBSET_PATH",
    "TENSORBOARD.MODEL_VIS": "ACTIVATIONS COLORMAP GRAD_CAM LAYER_LIST MODEL_WEIGHTS",
    "TRAIN": "CHECKPOINT_CLEAR_NAME_PATTERN",
}
KEYS = frozenset(
    {"TASK", *(f"{section}.{name}" for section, names in _KEYS.items() for name in names.split())}
)


@dataclass(frozen=True)
class FixedKey:
    """A key of PySlowFast of which this program has one value.

    Attributes:
        value: describes this program; of a list by stage and pathway, the values per stage.
        reason: what this program does, for messages.
        is_refused: whether another value is refused, since the model or the task would be another one; False:
            a warning states the difference.
        applies: whether the key would matter in a configuration.
    """

    value: Any
    reason: str
    is_refused: bool = True
    applies: Callable[[CfgNode], bool] = lambda cfg: True

    def accepts(self, value: Any) -> bool:
        """Returns whether ``value`` describes this program.

        >>> FixedKey([[1], [2]], "").accepts([[1, 1], [2, 2]])
        True
        """
        if isinstance(value, tuple | list) and isinstance(self.value, list):
            return [_per_stage(stage) for stage in value] == [_per_stage(stage) for stage in self.value]
        return bool(value == self.value) or (value is None and not self.value)


def _per_stage(stage: Any) -> Any:
    """Returns the values of the pathways of a stage, each once."""
    if not isinstance(stage, tuple | list):
        return stage
    return [value for index, value in enumerate(stage) if value not in stage[:index]]


def _trains(cfg: CfgNode) -> bool:
    return bool(cfg.TRAIN.ENABLE)


def _synchronizes(cfg: CfgNode) -> bool:
    return _trains(cfg) and cfg.BN.NORM_TYPE == "sync_batchnorm"


def _tests(cfg: CfgNode) -> bool:
    return bool(cfg.TEST.ENABLE)


def _fixed(keys: Mapping[str, tuple[Any, str]], **options: Any) -> dict[str, FixedKey]:
    """Returns the keys of a table key -> (value, reason), with these options of :class:`FixedKey`."""
    return {key: FixedKey(value, reason, **options) for key, (value, reason) in keys.items()}


# Another task, or other weights.
_REFUSED = {
    "MASK.ENABLE": (False, "masked pretraining is not available"),
    "DETECTION.ENABLE": (False, "videos are classified, and nothing is detected in them"),
    "BN.EPSILON": (1e-5, "batch norms have that value"),
}
_REFUSED_IN_TRAINING = {
    "AUG.GEN_MASK_LOADER": (False, "masked pretraining is not available"),
    "MODEL.DETACH_FINAL_FC": (False, "all weights of this network are trained, not the last layer alone"),
    "MODEL.FROZEN_BN": (False, "batch norms are trained with the other layers"),
    "MULTIGRID.SHORT_CYCLE": (False, "all steps have clips of one size"),
    "MULTIGRID.LONG_CYCLE": (False, "all steps have clips of one size"),
    "SOLVER.LARS_ON": (False, "layers do not get learning rates of their own norms"),
    "BN.MOMENTUM": (0.1, "batch norms have that value"),
    "DATA.SKIP_ROWS": (0, "all rows of the training list are read"),
    "DATA.LOADER_CHUNK_SIZE": (0, "all rows of the training list are read"),
}
# Small differences, and values that the usual files carry. Checkpoints of other forms are an error where they
# are loaded.
_OTHER_IN_TRAINING = {
    "BN.USE_PRECISE_STATS": (
        False,
        "batch norms keep the moving averages of training, so that validations and tests differ slightly",
    ),
    "MODEL.FC_INIT_STD": (0.01, "the last layer starts as its network defines it"),
    "TRAIN.KILL_LOSS_EXPLOSION_FACTOR": (0, "a growing loss does not end the run"),
    "DATA.TRAIN_JITTER_FPS": (0, "training clips have the rate DATA.TARGET_FPS"),
    "DATA.TRAIN_JITTER_MOTION_SHIFT": (False, "crops do not move in a clip"),
    "DATA.COLOR_RND_GRAYSCALE": (0, "no clip is made grey"),
    "DATA.TIME_DIFF_PROB": (0, "no clip is made of differences of frames"),
    "DATA.SSL_COLOR_JITTER": (False, "colours change as AUG describes"),
    "DATA.TRAIN_CROP_NUM_TEMPORAL": (1, "AUG.NUM_SAMPLE has the number of clips per video"),
    "DATA.TRAIN_CROP_NUM_SPATIAL": (1, "AUG.NUM_SAMPLE has the number of clips per video"),
    "TRAIN.CHECKPOINT_INFLATE": (False, "weights of networks for images do not fit"),
    "TRAIN.CHECKPOINT_IN_INIT": (False, "weights of networks for images do not fit"),
    "TRAIN.CHECKPOINT_TYPE": ("pytorch", "files of Caffe2 cannot be read"),
}
_OTHER_IN_TESTS = {
    "TEST.NUM_TEMPORAL_CLIPS": ([], "a test has TEST.NUM_ENSEMBLE_VIEWS clips per video"),
    "TEST.CHECKPOINT_TYPE": ("pytorch", "files of Caffe2 cannot be read"),
}
FIXED_KEYS: Mapping[str, FixedKey] = MappingProxyType(
    {
        **_fixed(_REFUSED),
        **_fixed(_REFUSED_IN_TRAINING, applies=_trains),
        **_fixed(_OTHER_IN_TRAINING, applies=_trains, is_refused=False),
        **_fixed(_OTHER_IN_TESTS, applies=_tests, is_refused=False),
        "BN.NUM_SYNC_DEVICES": FixedKey(
            1, "sync_batchnorm has the statistics of all processes", is_refused=False, applies=_synchronizes
        ),
        "DATA.DUMMY_LOAD": FixedKey(False, "the videos are read", is_refused=False),
    }
)
"""Keys of PySlowFast that change its results -> the value that describes this program."""

VALUES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "AUG.COLOR_JITTER": MappingProxyType({"None": 0.0}),
        "DATA.DECODING_BACKEND": MappingProxyType({"torchvision": "pyav"}),
    }
)
"""Key -> value of PySlowFast -> the value here that gives the same results."""
