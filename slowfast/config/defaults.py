"""The framework's config keys with their defaults.

Keys without a mark have PySlowFast's names and values. ``(new)`` marks keys that PySlowFast does not have,
``(VTN)`` keys of the original VTN code. A key exists only if the code reads it. Keys of PySlowFast without a
meaning here are listed in ``slowfast.config.obsolete``; projects add keys through
``slowfast.registry.Project``.
"""

from __future__ import annotations

from fvcore.common.config import CfgNode

from slowfast.registry import projects

_C = CfgNode()

# ---------------------------------------------------------------------------------- training
_C.TRAIN = CfgNode()
_C.TRAIN.ENABLE = True
# A name in DATASET_REGISTRY.
_C.TRAIN.DATASET = "kinetics"
# Clips per step on one node, over all of its processes.
_C.TRAIN.BATCH_SIZE = 64
# Epochs between two validations; the last epoch is always validated.
_C.TRAIN.EVAL_PERIOD = 10
# Epochs between two checkpoints; the last epoch is always saved.
_C.TRAIN.CHECKPOINT_PERIOD = 10
# Resume from the newest checkpoint in OUTPUT_DIR.
_C.TRAIN.AUTO_RESUME = True
# (new) Resume although the configuration or the list of videos has changed in a way that makes it another
# run. State that cannot be restored is initialised again, and the log lists it.
_C.TRAIN.FORCE_RESUME = False
# (new) Minutes between two checkpoints within an epoch; 0: no such checkpoints.
_C.TRAIN.CHECKPOINT_MINUTES = 30.0
# (new) Optimiser steps between two checkpoints, counted from the start of the run; 0: no such checkpoints.
_C.TRAIN.CHECKPOINT_STEPS = 0
# (new) End the training after this many validations without improvement; 0: never. The learning rates remain
# those of MAX_EPOCH epochs.
_C.TRAIN.PATIENCE = 0
# (new) Smallest difference that counts as an improvement, in the unit of BEST_METRIC.
_C.TRAIN.MIN_IMPROVEMENT = 0.0
# (new) Validation metric of the best checkpoint: loss, top1_err, top5_err, balanced_acc, macro_f1, auroc (two
# classes), map (several classes per video). Empty: top1_err or map.
_C.TRAIN.BEST_METRIC = ""
# (new) Number of epoch checkpoints to keep, the newest ones and the best validated one; 0: all.
_C.TRAIN.KEEP_CHECKPOINTS = 0
# Checkpoint whose weights the training starts from.
_C.TRAIN.CHECKPOINT_FILE_PATH = ""
# Take only the weights of CHECKPOINT_FILE_PATH and start at epoch 0 with a new optimiser.
_C.TRAIN.CHECKPOINT_EPOCH_RESET = False
# (new) Re-initialise a head whose size differs from the checkpoint's, instead of an error.
_C.TRAIN.CHECKPOINT_RESET_HEAD = False
# (new) Precision of matrix products: float32, bfloat16, float16, or mixed: bfloat16 where the device supports
# it, else float16. The weights stay float32. It also holds for validation and test.
_C.TRAIN.PRECISION = "float32"
# (new) Compile the trained network with torch.compile: the first steps take a minute longer, and dropout
# draws other random numbers.
_C.TRAIN.COMPILE = False
# PySlowFast's name for TRAIN.PRECISION mixed.
_C.TRAIN.MIXED_PRECISION = False
# (new) Gradient accumulation: number of micro-batches that each process's clips are split into. BATCH_SIZE
# remains the number of clips of the full step, and the loss and gradients remain those of the full batch.
_C.TRAIN.GRAD_ACCUM_STEPS = 1
# (new) Train on DATA.NUM_FRAMES frames spread over the full video, one drawn from each of as many equal
# parts, instead of frames DATA.SAMPLING_RATE apart.
_C.TRAIN.FULL_VIDEO = False
# (VTN) Validate and test on full videos, one view per video, instead of on clips.
_C.TRAIN.EVAL_FULL_VIDEO = False
# (VTN) Frames spaced uniformly over the full video; 0: every frame at DATA.TARGET_FPS.
_C.TRAIN.EVAL_NUM_FRAMES = 0
# (new) Evaluated views of more frames than this are decoded in chunks while the model runs, if the model
# encodes each frame by itself; 0: never.
_C.TRAIN.EVAL_STREAM_FRAMES = 512
# (new) Steps (at least a twentieth of the training) after which the log has a hint, with measured reasons, if
# the training loss has not moved; 0: never.
_C.TRAIN.STALL_STEPS = 200
# (new) Total number of optimiser steps after which the run stops; 0: no limit.
_C.TRAIN.MAX_STEPS = 0

# -------------------------------------------------------------- extraction of features, prediction
# (new) The computation of features by extraction and prediction, which need no gradients.
_C.INFERENCE = CfgNode()
# Precision of matrix products: auto, float32, bfloat16, float16. auto: bfloat16 where the device has
# instructions for it and a few frames show that features stay within 5 % of float32, else float32.
_C.INFERENCE.PRECISION = "auto"
# Compile the network with torch.compile: auto, on, off. auto: where the work takes twenty minutes or longer.
_C.INFERENCE.COMPILE = "auto"

# ----------------------------------------------------------------------------------- testing
_C.TEST = CfgNode()
_C.TEST.ENABLE = True
# (new) As TRAIN.PRECISION, for the test; '': that of training.
_C.TEST.PRECISION = ""
_C.TEST.DATASET = "kinetics"
# Views per step on one node, over all of its processes.
_C.TEST.BATCH_SIZE = 8
# Checkpoint to test; empty: the newest one in OUTPUT_DIR, else TRAIN.CHECKPOINT_FILE_PATH.
_C.TEST.CHECKPOINT_FILE_PATH = ""
# (new) Where CHECKPOINT_FILE_PATH is empty: last tests the newest weights, best those of the best validation
# by TRAIN.BEST_METRIC.
_C.TEST.WEIGHTS = "last"
# Clips per video, and crops of each clip along the longer side.
_C.TEST.NUM_ENSEMBLE_VIEWS = 10
_C.TEST.NUM_SPATIAL_CROPS = 3
# File of predictions (.npz; a .csv is written beside it), relative to OUTPUT_DIR; empty: not written.
_C.TEST.SAVE_RESULTS_PATH = ""
# (new) Regular expression that captures the group of a video from its path, such as the name of the source
# video; intervals of metrics are then computed over groups. Empty: the list's column "group", if it has one.
_C.TEST.GROUP_BY = ""
# (new) For ablations: put the frames of each view in a seeded random order and keep their positions.
_C.TEST.SHUFFLE_FRAMES = False
# (new) Also test with the frames of each view shuffled, reversed, and with its middle frame alone: accuracies
# in all and per class, and the classes that reversal exchanges. Takes three more passes over the test split.
_C.TEST.ORDER_REPORT = False

# ------------------------------------------------------------------------------------- model
_C.MODEL = CfgNode()
# A name in MODEL_REGISTRY.
_C.MODEL.MODEL_NAME = "SlowFast"
# Architecture within a model family.
_C.MODEL.ARCH = "slowfast"
_C.MODEL.NUM_CLASSES = 400
# A name in LOSS_REGISTRY: for one class per video cross_entropy, focal; for mixed clips soft_cross_entropy,
# soft_focal; for several classes per video bce_logit, focal_logit.
_C.MODEL.LOSS_FUNC = "cross_entropy"
_C.MODEL.DROPOUT_RATE = 0.5
# A name in SCORE_ACTIVATION_REGISTRY: softmax, sigmoid, none. It turns logits into scores in tests, before
# the scores of a video's views are merged.
_C.MODEL.HEAD_ACT = "softmax"

# (new) Changes of the loss in training; validation and tests use the plain loss.
_C.LOSS = CfgNode()
# Keyword arguments of MODEL.LOSS_FUNC, such as gamma of focal.
_C.LOSS.ARGS = CfgNode(new_allowed=True)
# A name in CLASS_WEIGHT_REGISTRY: none, balanced, effective_number, given. The weights are scaled so that
# their mean over the training videos is 1.
_C.LOSS.CLASS_WEIGHTS = "none"
# Keyword arguments of CLASS_WEIGHTS: beta of effective_number, weights of given (one per class).
_C.LOSS.CLASS_WEIGHT_ARGS = CfgNode(new_allowed=True)
# Factor of log(fraction of a class in the training list), which is added to its logit in training (logit
# adjustment, Menon et al., 2021, eq. 10); 1 makes the mean accuracy over the classes the goal, 0: off.
_C.LOSS.LOGIT_ADJUSTMENT = 0.0
# Fraction of each label that is divided equally among all classes (of several classes per video: moved
# towards 0.5).
_C.LOSS.LABEL_SMOOTHING = 0.0

# -------------------------------------------------------------------------------------- data
_C.DATA = CfgNode()
# Folder of train.csv, val.csv and test.csv (or one csv file). For the data set "shards" the folder of train/,
# val/ and test/ with *.tar, or a pattern such as shards/{split}/shard-{000000..000010}.tar.
_C.DATA.PATH_TO_DATA_DIR = ""
_C.DATA.PATH_LABEL_SEPARATOR = " "
# Folder in front of every path of a csv.
_C.DATA.PATH_PREFIX = ""
# (new) json file, class name -> index, for tests, predictions and TensorBoard; PySlowFast's name is
# TENSORBOARD.CLASS_NAMES_PATH. Empty: the names saved in the checkpoint.
_C.DATA.CLASS_NAMES = ""
# (new) For the data set "shards" with DATA_LOADER.TRAIN_SAMPLER shuffle: number of shards that are read at a
# time, in a new order per epoch, and whose videos are shuffled together; 0: all of them.
_C.DATA.SHUFFLE_SHARDS = 16
# (new) Official split of ucf101 and hmdb51: 1, 2, 3.
_C.DATA.FOLD = 1
# (new) Frame rate of the data set "frames", whose videos are folders of images.
_C.DATA.IMAGE_FPS = 30.0
# (new) For the data set "frames": the names of the images in each folder, such as img_{:05d}.jpg. Empty: all
# images; then a folder must not contain several sequences.
_C.DATA.IMAGE_TEMPLATE = ""
_C.DATA.NUM_FRAMES = 8
# Distance between neighbouring frames of a clip, in frames at TARGET_FPS. For models that encode clips
# NUM_FRAMES 0 is one clip, and SAMPLING_RATE 0 the frame rate of their training, which becomes TARGET_FPS.
_C.DATA.SAMPLING_RATE = 8
_C.DATA.TARGET_FPS = 30
_C.DATA.INPUT_CHANNEL_NUM = [3, 3]
_C.DATA.MEAN = [0.45, 0.45, 0.45]
_C.DATA.STD = [0.225, 0.225, 0.225]
# (new) data: MEAN and STD above; backbone: the values that the model's weights were trained with.
_C.DATA.NORMALIZATION = "data"
# (new) Interpolation by which frames are scaled: bilinear, bicubic, or backbone for the one that the model's
# weights were trained with.
_C.DATA.INTERPOLATION = "bilinear"
# Short side of training frames, drawn uniformly between the two values. Tests scale the short side to
# TEST_CROP_SIZE for several crops, and to the smaller of the two values for one crop.
_C.DATA.TRAIN_JITTER_SCALES = [256, 320]
# Random resized crop instead: smallest and largest fraction of the frame's area, such as [0.08, 1.0], and
# range of width / height (empty: 3/4 to 4/3).
_C.DATA.TRAIN_JITTER_SCALES_RELATIVE = []
_C.DATA.TRAIN_JITTER_ASPECT_RELATIVE = []
# Pixels; 0: the size that the model's weights were trained with.
_C.DATA.TRAIN_CROP_SIZE = 224
_C.DATA.TEST_CROP_SIZE = 256
# (new) Test and predict on the whole picture in its own aspect ratio, its short side scaled to
# TEST_CROP_SIZE, instead of on a square crop; for models that accept frames of any size.
_C.DATA.TEST_WHOLE_PICTURE = False
# (new) Both sides of whole pictures are rounded to multiples of this many pixels; 0: of the smallest number
# that the model accepts.
_C.DATA.TEST_PICTURE_MULTIPLE = 0
# (new) Frames of each training clip, drawn uniformly between the two values, such as [12, 16]; empty:
# NUM_FRAMES. Evaluation uses NUM_FRAMES, or TRAIN.EVAL_NUM_FRAMES.
_C.DATA.TRAIN_JITTER_NUM_FRAMES = []
# (new) With TRAIN.FULL_VIDEO: fraction of the video, at a random time, over which the frames of a training
# clip are spread, drawn uniformly between the two values, such as [0.7, 1.0]; empty: the full video.
_C.DATA.TRAIN_JITTER_DURATION = []
# Draw the inverse of the short side uniformly instead of the short side.
_C.DATA.INV_UNIFORM_SAMPLE = False
_C.DATA.RANDOM_FLIP = True
# Videos may have several classes.
_C.DATA.MULTI_LABEL = False
# How the scores of a video's views are merged: sum, max.
_C.DATA.ENSEMBLE_METHOD = "sum"
_C.DATA.REVERSE_INPUT_CHANNEL = False
# Decoder: pyav, torchcodec.
_C.DATA.DECODING_BACKEND = "pyav"
# (new) Read the frames and pixels of the original VTN, to evaluate published weights as published.
_C.DATA.ORIGINAL_SEMANTICS = False
# (new) Largest fraction of broken videos per training epoch; above it the run ends.
_C.DATA.MAX_BROKEN_FRACTION = 0.1
# (new) Folder of features that `slowfast extract` has extracted from the same videos. They replace
# the frames. Empty: frames are decoded.
_C.DATA.FEATURES = ""
# (new) Features per second, for the cache and for files of the data set "features" without times. Plans of
# frames then count features. 0: one feature for every frame of the video.
_C.DATA.FEATURES_FPS = 0.0
# (new) Layout of the files of the data set "features": frames_first (frames, width), frames_last (width,
# frames).
_C.DATA.FEATURES_LAYOUT = "frames_first"

# ------------------------------------------------------------------------------ augmentation
_C.AUG = CfgNode()
_C.AUG.ENABLE = False
# Repeated augmentation: clips of each video per step. A step then has NUM_SAMPLE × TRAIN.BATCH_SIZE clips.
# Needs AUG.ENABLE for frames; clips of features differ in their times alone.
_C.AUG.NUM_SAMPLE = 1
# RandAugment policy by timm's name; empty: colour jitter by 1 ± COLOR_JITTER instead.
_C.AUG.AA_TYPE = "rand-m9-mstd0.5-inc1"
_C.AUG.COLOR_JITTER = 0.4
# Interpolation of RandAugment's rotations and shears: bilinear, bicubic, random.
_C.AUG.INTERPOLATION = "bicubic"
# Random erasing: fraction of the clips, filling (pixel, rand, const), largest number of erased rectangles.
_C.AUG.RE_PROB = 0.25
_C.AUG.RE_MODE = "pixel"
_C.AUG.RE_COUNT = 1

_C.MIXUP = CfgNode()
_C.MIXUP.ENABLE = False
# Parameters of the beta distributions of the mixing ratio in Mixup and CutMix; 0: not used.
_C.MIXUP.ALPHA = 0.8
_C.MIXUP.CUTMIX_ALPHA = 1.0
# Fraction of the pairs of clips that are mixed, and fraction of those that are mixed by CutMix.
_C.MIXUP.PROB = 1.0
_C.MIXUP.SWITCH_PROB = 0.5
_C.MIXUP.LABEL_SMOOTH_VALUE = 0.1

_C.DATA_LOADER = CfgNode()
# Workers per process.
_C.DATA_LOADER.NUM_WORKERS = 8
_C.DATA_LOADER.PIN_MEMORY = True
# (new) A name in SAMPLER_REGISTRY, which orders the training samples: shuffle (every video once per epoch),
# balanced (all classes equally often), square_root (a class in proportion to the root of its size).
_C.DATA_LOADER.TRAIN_SAMPLER = "shuffle"
# (new) Seconds that a worker may take to read one view of a video while the run waits for it. After that the
# worker is replaced and the video counts as broken. Needs NUM_WORKERS of 1 or more. 0: no limit.
_C.DATA_LOADER.SAMPLE_TIMEOUT = 300.0

# ------------------------------------------------------------------------------------ solver
_C.SOLVER = CfgNode()
# A name in OPTIMIZER_REGISTRY: sgd, adam, adamw.
_C.SOLVER.OPTIMIZING_METHOD = "sgd"
_C.SOLVER.BASE_LR = 0.1
# Multiply the learning rates by the number of nodes (NUM_SHARDS, or the number given by torchrun or SLURM).
_C.SOLVER.BASE_LR_SCALE_NUM_SHARDS = False
# A name in LR_POLICY_REGISTRY: cosine, steps_with_relative_lrs.
_C.SOLVER.LR_POLICY = "cosine"
_C.SOLVER.COSINE_END_LR = 0.0
_C.SOLVER.COSINE_AFTER_WARMUP = False
# Epochs from which the learning rates LRS apply; these are relative to BASE_LR.
_C.SOLVER.STEPS = []
_C.SOLVER.LRS = []
_C.SOLVER.MAX_EPOCH = 300
_C.SOLVER.MOMENTUM = 0.9
_C.SOLVER.DAMPENING = 0.0
_C.SOLVER.NESTEROV = True
_C.SOLVER.BETAS = [0.9, 0.999]
_C.SOLVER.WEIGHT_DECAY = 1e-4
# No weight decay on parameters of one dimension (norms, biases) and on those that the model names.
_C.SOLVER.ZERO_WD_1D_PARAM = False
_C.SOLVER.WARMUP_EPOCHS = 0.0
_C.SOLVER.WARMUP_START_LR = 0.01
# Clip gradients to this absolute value, or to this norm over all parameters; None: no clipping.
_C.SOLVER.CLIP_GRAD_VAL = None
_C.SOLVER.CLIP_GRAD_L2NORM = None
# (new) Largest number of steps that may be skipped because their loss or gradient is not finite.
_C.SOLVER.MAX_SKIPPED_STEPS = 10
# Learning rate of a layer, divided by that of the next layer towards the output.
_C.SOLVER.LAYER_DECAY = 1.0
# (new) Factors of the learning rate of parts of the model, by the names of its modules, such as
# {backbone: 0.1, mlp_head: 10}; a part of a part is a section of its own. The longest name that fits counts.
_C.SOLVER.LR_FACTORS = CfgNode(new_allowed=True)

# Moving average of the weights (as timm's ModelEma), saved in checkpoints beside the weights.
_C.MODEL_EMA = CfgNode()
_C.MODEL_EMA.ENABLE = False
_C.MODEL_EMA.DECAY = 0.9998
# Start with a smaller decay, for runs of few steps.
_C.MODEL_EMA.WARMUP = False
# (new) Validate and test the averaged weights; False: the weights as trained.
_C.MODEL_EMA.EVALUATE = True

_C.BN = CfgNode()
# batchnorm, or sync_batchnorm for statistics over the clips of all processes (on GPUs).
_C.BN.NORM_TYPE = "batchnorm"
# Weight decay of batch-norm parameters.
_C.BN.WEIGHT_DECAY = 0.0

# ----------------------------------------------------------------------------- nodes and processes
# Processes on this node, one per GPU; at most one per GPU that the node has, and one process on the CPU where
# it has none.
_C.NUM_GPUS = 1
# Number of nodes of the run, and the rank of this node among them.
_C.NUM_SHARDS = 1
_C.SHARD_ID = 0
# nccl, gloo; a backend that does not support the device is replaced, and the log states it.
_C.DIST_BACKEND = "nccl"
# (new) Seconds within which all processes of a run must connect and find that their setups agree.
_C.DIST_START_TIMEOUT = 300.0
# (new) Seconds that a process may wait for the others during the run. After that all processes end and log
# their stacks. A process without a heartbeat counts as lost after this time or after two minutes, whichever
# is shorter.
_C.DIST_TIMEOUT = 1800.0

# (new) How several processes train one model.
_C.PARALLEL = CfgNode()
# ddp: every process holds the full model. fsdp: weights, gradients and optimiser states are sharded over the
# processes, for models that do not fit one GPU; checkpoints are the same.
_C.PARALLEL.MODE = "ddp"
# ddp: the same parameters are used in every step; faster, not with TRAIN.GRAD_ACCUM_STEPS above 1.
_C.PARALLEL.STATIC_GRAPH = False
# ddp: find the parameters that a step does not use; slower, for models whose graph changes.
_C.PARALLEL.FIND_UNUSED_PARAMETERS = False

# --------------------------------------------------------------------------------- user code
# (new) Modules or Python files that are imported before names are looked up, so that they register their
# models, data sets, losses and other components.
_C.IMPORTS = ()

# ----------------------------------------------------------------------------- run and output
_C.OUTPUT_DIR = "."
_C.RNG_SEED = 1
# (new) Precision of float32 matrix products on a GPU, as torch.set_float32_matmul_precision takes it: high
# allows TensorFloat32, which is several times as fast; highest does not.
_C.MATMUL_PRECISION = "high"
# (new) Use only algorithms whose results are identical in every run with the same hardware, threads and
# processes; an operation without such an algorithm is an error.
_C.DETERMINISTIC = False
# Steps between two log lines.
_C.LOG_PERIOD = 10
_C.LOG_MODEL_INFO = True

# (new) Names in TRACKER_REGISTRY: tensorboard, trackio, wandb, mlflow. They write to OUTPUT_DIR and use no
# network unless their own environment variables say so.
_C.TRACKERS = ()
# (new) Name of the project under which trackers compare runs.
_C.TRACKER_PROJECT = "slowfast"

_C.TENSORBOARD = CfgNode()
# The same as tensorboard in TRACKERS.
_C.TENSORBOARD.ENABLE = False
# Empty: runs-{TRAIN.DATASET} in OUTPUT_DIR.
_C.TENSORBOARD.LOG_DIR = ""
_C.TENSORBOARD.CONFUSION_MATRIX = CfgNode()
_C.TENSORBOARD.CONFUSION_MATRIX.ENABLE = False
# Filmstrips of wrong predictions, after the test; TensorBoard must be enabled.
_C.TENSORBOARD.WRONG_PRED_VIS = CfgNode()
_C.TENSORBOARD.WRONG_PRED_VIS.ENABLE = False
# Beginning of the tags.
_C.TENSORBOARD.WRONG_PRED_VIS.TAG = "Incorrectly classified videos."
# Text file with one class name per line: only videos of these classes; empty: of all classes.
_C.TENSORBOARD.WRONG_PRED_VIS.SUBSET_PATH = ""
# (new) Largest number of filmstrips; the wrong predictions with the highest scores are shown.
_C.TENSORBOARD.WRONG_PRED_VIS.MAX_VIDEOS = 50
# Attention to the frames of test videos per layer and head, for models that have it; needs TensorBoard.
_C.TENSORBOARD.MODEL_VIS = CfgNode()
_C.TENSORBOARD.MODEL_VIS.ENABLE = False
# Show the frames, too.
_C.TENSORBOARD.MODEL_VIS.INPUT_VIDEO = False
# Number of best classes in the titles.
_C.TENSORBOARD.MODEL_VIS.TOPK_PREDS = 1
# (new) Number of videos, the first ones of the test split.
_C.TENSORBOARD.MODEL_VIS.MAX_VIDEOS = 10

# A video with the best classes over time drawn on it, after training and test, with the weights of the test.
_C.DEMO = CfgNode()
_C.DEMO.ENABLE = False
_C.DEMO.INPUT_VIDEO = ""
# Empty: demo.mp4 in OUTPUT_DIR.
_C.DEMO.OUTPUT_FILE = ""
# json file of class names and indices; empty: DATA.CLASS_NAMES, else the names in the checkpoint.
_C.DEMO.LABEL_FILE_PATH = ""
# Frames at DATA.TARGET_FPS that a window shares with the next one; a window has the length of a clip,
# NUM_FRAMES × SAMPLING_RATE frames.
_C.DEMO.BUFFER_SIZE = 0
# (new) Number of best classes that are drawn.
_C.DEMO.NUM_CLASSES_SHOWN = 5
# Pixels of the written video; 0: those of the video, or in proportion to the other one.
_C.DEMO.DISPLAY_WIDTH = 0
_C.DEMO.DISPLAY_HEIGHT = 0
# Frames per second at which all frames are played; -1: at their times in the video.
_C.DEMO.OUTPUT_FPS = -1.0
# Must be -1: cameras are not read by runs.
_C.DEMO.WEBCAM = -1


def get_default_config() -> CfgNode:
    """Returns a new configuration with the framework's keys and those of all installed projects."""
    cfg = _C.clone()
    for project in projects():
        project.add_config(cfg)
    return cfg


get_cfg = get_default_config
"""PySlowFast's name of :func:`get_default_config`."""
