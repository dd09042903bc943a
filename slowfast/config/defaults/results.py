"""Keys of what shows results: trackers of experiments, TensorBoard, and a video with predictions."""

from __future__ import annotations

from fvcore.common.config import CfgNode

KEYS = CfgNode()

# (new) Names in TRACKER_REGISTRY: tensorboard, trackio, wandb, mlflow. They write to OUTPUT_DIR and use no
# network unless their own environment variables say so.
KEYS.TRACKERS = ()
# (new) Name of the project under which trackers compare runs.
KEYS.TRACKER_PROJECT = "slowfast"

KEYS.TENSORBOARD = CfgNode()
# The same as tensorboard in TRACKERS.
KEYS.TENSORBOARD.ENABLE = False
# Empty: runs-{TRAIN.DATASET} in OUTPUT_DIR.
KEYS.TENSORBOARD.LOG_DIR = ""
KEYS.TENSORBOARD.CONFUSION_MATRIX = CfgNode()
KEYS.TENSORBOARD.CONFUSION_MATRIX.ENABLE = False
# Filmstrips of wrong predictions, after the test; TensorBoard must be enabled.
KEYS.TENSORBOARD.WRONG_PRED_VIS = CfgNode()
KEYS.TENSORBOARD.WRONG_PRED_VIS.ENABLE = False
# Beginning of the tags.
KEYS.TENSORBOARD.WRONG_PRED_VIS.TAG = "Incorrectly classified videos."
# Text file with one class name per line: only videos of these classes; empty: of all classes.
KEYS.TENSORBOARD.WRONG_PRED_VIS.SUBSET_PATH = ""
# (new) Largest number of filmstrips; the wrong predictions with the highest scores are shown.
KEYS.TENSORBOARD.WRONG_PRED_VIS.MAX_VIDEOS = 50
# Attention to the frames of test videos per layer and head, for models that have it; needs TensorBoard.
KEYS.TENSORBOARD.MODEL_VIS = CfgNode()
KEYS.TENSORBOARD.MODEL_VIS.ENABLE = False
# Show the frames, too.
KEYS.TENSORBOARD.MODEL_VIS.INPUT_VIDEO = False
# Number of best classes in the titles.
KEYS.TENSORBOARD.MODEL_VIS.TOPK_PREDS = 1
# (new) Number of videos, the first ones of the test split.
KEYS.TENSORBOARD.MODEL_VIS.MAX_VIDEOS = 10

# A video with the best classes over time drawn on it, after training and test, with the weights of the test.
KEYS.DEMO = CfgNode()
KEYS.DEMO.ENABLE = False
KEYS.DEMO.INPUT_VIDEO = ""
# Empty: demo.mp4 in OUTPUT_DIR.
KEYS.DEMO.OUTPUT_FILE = ""
# File of class names as DATA.CLASS_NAMES; empty: DATA.CLASS_NAMES, else the names in the checkpoint.
KEYS.DEMO.LABEL_FILE_PATH = ""
# Frames at DATA.TARGET_FPS that a window shares with the next one; a window has the length of a clip,
# NUM_FRAMES × SAMPLING_RATE frames.
KEYS.DEMO.BUFFER_SIZE = 0
# (new) Number of best classes that are drawn.
KEYS.DEMO.NUM_CLASSES_SHOWN = 5
# Pixels of the written video; 0: those of the video, or in proportion to the other one.
KEYS.DEMO.DISPLAY_WIDTH = 0
KEYS.DEMO.DISPLAY_HEIGHT = 0
# Frames per second at which all frames are played; -1: at their times in the video.
KEYS.DEMO.OUTPUT_FPS = -1.0
# Must be -1: cameras are not read by runs.
KEYS.DEMO.WEBCAM = -1
