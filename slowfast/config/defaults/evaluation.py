"""Keys of tests, and of the computation of features by extraction and prediction."""

from __future__ import annotations

from fvcore.common.config import CfgNode

KEYS = CfgNode()

# (new) The computation of features by extraction and prediction, which need no gradients.
KEYS.INFERENCE = CfgNode()
# Precision of matrix products: auto, float32, bfloat16, float16. auto: bfloat16 where the device has
# instructions for it and a few frames show that features stay within 5 % of float32, else float32.
KEYS.INFERENCE.PRECISION = "auto"
# Compile the network with torch.compile: auto, on, off. auto: where the work takes twenty minutes or longer.
KEYS.INFERENCE.COMPILE = "auto"

KEYS.TEST = CfgNode()
KEYS.TEST.ENABLE = True
# (new) As TRAIN.PRECISION, for the test; '': that of training.
KEYS.TEST.PRECISION = ""
KEYS.TEST.DATASET = "kinetics"
# Views per step on one node, over all of its processes.
KEYS.TEST.BATCH_SIZE = 8
# Checkpoint to test; empty: the newest one in OUTPUT_DIR, else TRAIN.CHECKPOINT_FILE_PATH.
KEYS.TEST.CHECKPOINT_FILE_PATH = ""
# (new) Where CHECKPOINT_FILE_PATH is empty: last tests the newest weights, best those of the best validation
# by TRAIN.BEST_METRIC.
KEYS.TEST.WEIGHTS = "last"
# Clips per video, and crops of each clip along the longer side.
KEYS.TEST.NUM_ENSEMBLE_VIEWS = 10
KEYS.TEST.NUM_SPATIAL_CROPS = 3
# File of predictions (.npz; a .csv is written beside it), relative to OUTPUT_DIR; empty: not written.
KEYS.TEST.SAVE_RESULTS_PATH = ""
# (new) Regular expression that captures the group of a video from its path, such as the name of the source
# video; intervals of metrics are then computed over groups. Empty: the list's column "group", if it has one.
KEYS.TEST.GROUP_BY = ""
# (new) For ablations: put the frames of each view in a seeded random order and keep their positions.
KEYS.TEST.SHUFFLE_FRAMES = False
# (new) Also test with the frames of each view shuffled, reversed, and with its middle frame alone: accuracies
# in all and per class, and the classes that reversal exchanges. Takes three more passes over the test split.
KEYS.TEST.ORDER_REPORT = False
