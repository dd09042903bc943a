"""Keys of PySlowFast that this program does not read.

``SECTIONS`` and ``KEYS`` are accepted, and one warning lists them: they belong to detection, to
self-supervision, to display, or to workarounds that are not needed. ``FIXED_KEYS`` change the results of
PySlowFast, and one of their values describes what this program does; another one is refused, or a warning
states the difference.

A dotted name stands for a key, or for a section with all of its keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fvcore.common.config import CfgNode

from slowfast.registry import FixedKey

SECTIONS = frozenset(
    {
        "AVA",
        "ASYNC",
        "BENCHMARK",
        "CONTRASTIVE",
        "DETECTION",
        "MASK",
        "MULTIGRID",
        "PREFETCH",
        "SSL",
        "TENSORBOARD.HISTOGRAM",
        "VIS_MASK",
    }
)

KEYS = frozenset(
    {
        "AUG.MASK_FRAMES",
        "AUG.MASK_RATIO",
        "AUG.MASK_TUBE",
        "AUG.MASK_WINDOW_SIZE",
        "AUG.MAX_MASK_PATCHES_PER_BLOCK",
        "AUG.RE_SPLIT",
        "BN.GLOBAL_SYNC",
        "BN.NUM_BATCHES_PRECISE",
        "BN.NUM_SPLITS",
        "DATA.CROP_SIZE",
        "DATA.DECODING_SHORT_SIZE",
        "DATA.IN22K_TRAINVAL",
        "DATA.IN22k_VAL_IN1K",
        "DATA.IN_VAL_CROP_RATIO",
        "DATA.LOADER_CHUNK_OVERALL_SIZE",
        "DATA.PATH_TO_PRELOAD_IMDB",
        "DATA.SSL_BLUR_SIGMA_MAX",
        "DATA.SSL_BLUR_SIGMA_MIN",
        "DATA.SSL_COLOR_BRI_CON_SAT",
        "DATA.SSL_COLOR_HUE",
        "DATA.SSL_MOCOV2_AUG",
        "DATA.TRAIN_PCA_EIGVAL",
        "DATA.TRAIN_PCA_EIGVEC",
        "DATA.USE_OFFSET_SAMPLING",
        "DATA_LOADER.ENABLE_MULTI_THREAD_DECODE",
        "DEMO.CLIP_VIS_SIZE",
        "DEMO.COMMON_CLASS_NAMES",
        "DEMO.COMMON_CLASS_THRES",
        "DEMO.DETECTRON2_CFG",
        "DEMO.DETECTRON2_THRESH",
        "DEMO.DETECTRON2_WEIGHTS",
        "DEMO.FPS",
        "DEMO.GT_BOXES",
        "DEMO.INPUT_FORMAT",
        "DEMO.NUM_CLIPS_SKIP",
        "DEMO.NUM_VIS_INSTANCES",
        "DEMO.PREDS_BOXES",
        "DEMO.SLOWMO",
        "DEMO.STARTING_SECOND",
        "DEMO.THREAD_ENABLE",
        "DEMO.UNCOMMON_CLASS_THRES",
        "DEMO.VIS_MODE",
        "MODEL.ACT_CHECKPOINT",
        "MODEL.FP16_ALLREDUCE",
        "MODEL.MULTI_PATHWAY_ARCH",
        "MODEL.SINGLE_PATHWAY_ARCH",
        "SOLVER.GAMMA",
        "SOLVER.STEP_SIZE",
        "SOLVER.WARMUP_FACTOR",
        "TASK",
        "TENSORBOARD.CATEGORIES_PATH",
        "TENSORBOARD.CONFUSION_MATRIX.FIGSIZE",
        "TENSORBOARD.CONFUSION_MATRIX.SUBSET_PATH",
        "TENSORBOARD.MODEL_VIS.ACTIVATIONS",
        "TENSORBOARD.MODEL_VIS.COLORMAP",
        "TENSORBOARD.MODEL_VIS.GRAD_CAM",
        "TENSORBOARD.MODEL_VIS.LAYER_LIST",
        "TENSORBOARD.MODEL_VIS.MODEL_WEIGHTS",
        "TENSORBOARD.PREDICTIONS_PATH",
        "TRAIN.CHECKPOINT_CLEAR_NAME_PATTERN",
    }
)


def _trains(cfg: CfgNode) -> bool:
    return bool(cfg.TRAIN.ENABLE)


def _synchronizes(cfg: CfgNode) -> bool:
    return _trains(cfg) and cfg.BN.NORM_TYPE == "sync_batchnorm"


def _tests(cfg: CfgNode) -> bool:
    return bool(cfg.TEST.ENABLE)


FIXED_KEYS: Mapping[str, FixedKey] = MappingProxyType(
    {
        # Another task, or other weights that are trained.
        "MASK.ENABLE": FixedKey(False, "masked pretraining is not available"),
        "AUG.GEN_MASK_LOADER": FixedKey(False, "masked pretraining is not available", applies=_trains),
        "DETECTION.ENABLE": FixedKey(False, "videos are classified, and nothing is detected in them"),
        "MODEL.DETACH_FINAL_FC": FixedKey(
            False, "all weights of this network are trained, not the last layer alone", applies=_trains
        ),
        "MODEL.FROZEN_BN": FixedKey(False, "batch norms are trained with the other layers", applies=_trains),
        "MULTIGRID.SHORT_CYCLE": FixedKey(False, "all steps have clips of one size", applies=_trains),
        "MULTIGRID.LONG_CYCLE": FixedKey(False, "all steps have clips of one size", applies=_trains),
        "SOLVER.LARS_ON": FixedKey(
            False, "layers do not get learning rates of their own norms", applies=_trains
        ),
        "BN.EPSILON": FixedKey(1e-5, "batch norms have that value"),
        "BN.MOMENTUM": FixedKey(0.1, "batch norms have that value", applies=_trains),
        "DATA.SKIP_ROWS": FixedKey(0, "all rows of the training list are read", applies=_trains),
        "DATA.LOADER_CHUNK_SIZE": FixedKey(0, "all rows of the training list are read", applies=_trains),
        # Small differences in training, and values that the usual files carry.
        "BN.USE_PRECISE_STATS": FixedKey(
            False,
            "batch norms keep the moving averages of training, so that validations and tests differ slightly",
            is_refused=False,
            applies=_trains,
        ),
        "BN.NUM_SYNC_DEVICES": FixedKey(
            1, "sync_batchnorm has the statistics of all processes", is_refused=False, applies=_synchronizes
        ),
        "MODEL.FC_INIT_STD": FixedKey(
            0.01, "the last layer starts as its network defines it", is_refused=False, applies=_trains
        ),
        "TRAIN.KILL_LOSS_EXPLOSION_FACTOR": FixedKey(
            0, "a growing loss does not end the run", is_refused=False, applies=_trains
        ),
        "DATA.TRAIN_JITTER_FPS": FixedKey(
            0, "training clips have the rate DATA.TARGET_FPS", is_refused=False, applies=_trains
        ),
        "DATA.TRAIN_JITTER_MOTION_SHIFT": FixedKey(
            False, "crops do not move in a clip", is_refused=False, applies=_trains
        ),
        "DATA.COLOR_RND_GRAYSCALE": FixedKey(0, "no clip is made grey", is_refused=False, applies=_trains),
        "DATA.TIME_DIFF_PROB": FixedKey(
            0, "no clip is made of differences of frames", is_refused=False, applies=_trains
        ),
        "DATA.SSL_COLOR_JITTER": FixedKey(
            False, "colours change as AUG describes", is_refused=False, applies=_trains
        ),
        "DATA.TRAIN_CROP_NUM_TEMPORAL": FixedKey(
            1, "AUG.NUM_SAMPLE has the number of clips per video", is_refused=False, applies=_trains
        ),
        "DATA.TRAIN_CROP_NUM_SPATIAL": FixedKey(
            1, "AUG.NUM_SAMPLE has the number of clips per video", is_refused=False, applies=_trains
        ),
        "DATA.DUMMY_LOAD": FixedKey(False, "the videos are read", is_refused=False),
        "TEST.NUM_TEMPORAL_CLIPS": FixedKey(
            [], "a test has TEST.NUM_ENSEMBLE_VIEWS clips per video", is_refused=False, applies=_tests
        ),
        # Checkpoints of other forms are an error where they are loaded.
        "TRAIN.CHECKPOINT_INFLATE": FixedKey(
            False, "weights of networks for images do not fit", is_refused=False, applies=_trains
        ),
        "TRAIN.CHECKPOINT_IN_INIT": FixedKey(
            False, "weights of networks for images do not fit", is_refused=False, applies=_trains
        ),
        "TRAIN.CHECKPOINT_TYPE": FixedKey(
            "pytorch", "files of Caffe2 cannot be read", is_refused=False, applies=_trains
        ),
        "TEST.CHECKPOINT_TYPE": FixedKey(
            "pytorch", "files of Caffe2 cannot be read", is_refused=False, applies=_tests
        ),
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
