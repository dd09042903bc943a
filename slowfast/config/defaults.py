"""The framework's keys with their defaults: PySlowFast's names and values, plus ours marked ``(ours)``.

A key exists only if something reads it. Keys of PySlowFast that mean nothing here are listed in
``slowfast.config.obsolete``; projects add theirs through ``slowfast.registry.Project``.
"""

from __future__ import annotations

from fvcore.common.config import CfgNode

from slowfast.registry import projects

_C = CfgNode()

# ---------------------------------------------------------------------------------- training
_C.TRAIN = CfgNode()
_C.TRAIN.ENABLE = True
# Name in DATASET_REGISTRY.
_C.TRAIN.DATASET = "kinetics"
# Clips a step on one machine, over all of its processes.
_C.TRAIN.BATCH_SIZE = 64
# Epochs between two validations; the last epoch is always validated.
_C.TRAIN.EVAL_PERIOD = 10
# Epochs between two checkpoints; the last epoch is always saved.
_C.TRAIN.CHECKPOINT_PERIOD = 10
# Continue from the newest checkpoint in OUTPUT_DIR.
_C.TRAIN.AUTO_RESUME = True
# (ours) Continue although the configuration or the list of videos has changed in a way that makes another run
# of it; what cannot be taken over begins afresh, and the log says what.
_C.TRAIN.FORCE_RESUME = False
# (ours) Minutes between two checkpoints within an epoch; 0: none.
_C.TRAIN.CHECKPOINT_MINUTES = 30.0
# (ours) Optimiser steps between two checkpoints, counted from the start of the run; 0: none.
_C.TRAIN.CHECKPOINT_STEPS = 0
# (ours) Checkpoints of epochs to keep, the last ones and the best validated one; 0: all.
_C.TRAIN.KEEP_CHECKPOINTS = 0
# Weights to start from.
_C.TRAIN.CHECKPOINT_FILE_PATH = ""
# Start at epoch 0 with a fresh optimiser, taking only the weights of CHECKPOINT_FILE_PATH.
_C.TRAIN.CHECKPOINT_EPOCH_RESET = False
# (ours) Re-initialise a head whose size differs from the checkpoint's instead of refusing it.
_C.TRAIN.CHECKPOINT_RESET_HEAD = False
_C.TRAIN.MIXED_PRECISION = False
# (ours) Parts in which the clips of a process go through the model, one after another: gradient accumulation.
# TRAIN.BATCH_SIZE stays the clips of a whole step, and losses and gradients stay those of the whole.
_C.TRAIN.GRAD_ACCUM_STEPS = 1
# (VTN's) Validate and test on whole videos, one view a video, instead of on clips.
_C.TRAIN.EVAL_FULL_VIDEO = False
# (VTN's) Frames spread uniformly over the whole video; 0: every frame at DATA.TARGET_FPS.
_C.TRAIN.EVAL_NUM_FRAMES = 0
# (ours) Evaluated views of more frames than this are decoded while the model looks at them, in chunks, if
# it looks frame by frame; 0: none are.
_C.TRAIN.EVAL_STREAM_FRAMES = 512
# (ours) Stop after that many optimiser steps in all; 0: never.
_C.TRAIN.MAX_STEPS = 0

# ----------------------------------------------------------------------------------- testing
_C.TEST = CfgNode()
_C.TEST.ENABLE = True
_C.TEST.DATASET = "kinetics"
# Views a step on one machine, over all of its processes.
_C.TEST.BATCH_SIZE = 8
# Weights to test; empty: the newest checkpoint in OUTPUT_DIR, else TRAIN.CHECKPOINT_FILE_PATH.
_C.TEST.CHECKPOINT_FILE_PATH = ""
_C.TEST.NUM_ENSEMBLE_VIEWS = 10
_C.TEST.NUM_SPATIAL_CROPS = 3
# Predictions file (.npz; a .csv is written beside it), relative to OUTPUT_DIR; empty: none.
_C.TEST.SAVE_RESULTS_PATH = ""
# (ours) An ablation: the frames of each view in a seeded random order, their positions left as they are.
_C.TEST.SHUFFLE_FRAMES = False

# ------------------------------------------------------------------------------------- model
_C.MODEL = CfgNode()
_C.MODEL.MODEL_NAME = "SlowFast"
# Architecture within a model family.
_C.MODEL.ARCH = "slowfast"
_C.MODEL.NUM_CLASSES = 400
# cross_entropy, soft_cross_entropy, bce_logit
_C.MODEL.LOSS_FUNC = "cross_entropy"
_C.MODEL.DROPOUT_RATE = 0.5
# What turns logits into scores at test time, before views are merged: softmax, sigmoid, none.
_C.MODEL.HEAD_ACT = "softmax"

# -------------------------------------------------------------------------------------- data
_C.DATA = CfgNode()
# Folder of train.csv, val.csv, test.csv (or one csv file).
_C.DATA.PATH_TO_DATA_DIR = ""
_C.DATA.PATH_LABEL_SEPARATOR = " "
# Put in front of every path of a csv.
_C.DATA.PATH_PREFIX = ""
# (ours) Which of the official divisions of ucf101 and hmdb51: 1, 2, 3.
_C.DATA.FOLD = 1
# (ours) Images a second of the data set "frames", whose videos are folders of images.
_C.DATA.IMAGE_FPS = 30.0
_C.DATA.NUM_FRAMES = 8
# Step between frames of a clip, in frames at TARGET_FPS.
_C.DATA.SAMPLING_RATE = 8
_C.DATA.TARGET_FPS = 30
_C.DATA.INPUT_CHANNEL_NUM = [3, 3]
_C.DATA.MEAN = [0.45, 0.45, 0.45]
_C.DATA.STD = [0.225, 0.225, 0.225]
# (ours) "data": MEAN and STD above; "backbone": those the model's weights were trained with.
_C.DATA.NORMALIZATION = "data"
# (ours) How frames are scaled: bilinear, bicubic, or as those were that the model's weights were trained with
# (backbone).
_C.DATA.INTERPOLATION = "bilinear"
# Short side in training, drawn uniformly between the two; the test resizes to TEST_CROP_SIZE
# for several crops, to the smaller of the two for one.
_C.DATA.TRAIN_JITTER_SCALES = [256, 320]
# Random resized crop in place of those two: least and largest share of the picture, such as [0.08, 1.0], and
# width over height (empty: 3/4 to 4/3).
_C.DATA.TRAIN_JITTER_SCALES_RELATIVE = []
_C.DATA.TRAIN_JITTER_ASPECT_RELATIVE = []
# 0: the size that the model's weights were trained with.
_C.DATA.TRAIN_CROP_SIZE = 224
_C.DATA.TEST_CROP_SIZE = 256
# Draw the inverse of the short side uniformly instead of the short side.
_C.DATA.INV_UNIFORM_SAMPLE = False
_C.DATA.RANDOM_FLIP = True
_C.DATA.MULTI_LABEL = False
# How scores of views are merged: sum, max.
_C.DATA.ENSEMBLE_METHOD = "sum"
_C.DATA.REVERSE_INPUT_CHANNEL = False
# Decoder: pyav, torchcodec.
_C.DATA.DECODING_BACKEND = "pyav"
# (ours) The original VTN's frames and pixels, for evaluating published weights as published.
_C.DATA.ORIGINAL_SEMANTICS = False
# (ours) Largest share of broken videos that a training epoch bears before the run ends.
_C.DATA.MAX_BROKEN_FRACTION = 0.1
# (ours) Folder of features that tools/extract_features.py made of the same videos; they take the place of
# frames. Empty: frames are decoded.
_C.DATA.FEATURES = ""
# (ours) Frames a second of features, those of the cache and those of the data set "features" whose files have
# no times; 0: every frame of the video. Plans of frames count rows then.
_C.DATA.FEATURES_FPS = 0.0
# (ours) Of the files of the data set "features": frames_first (frames, width), frames_last (width, frames).
_C.DATA.FEATURES_LAYOUT = "frames_first"

# ------------------------------------------------------------------------------ augmentation
_C.AUG = CfgNode()
_C.AUG.ENABLE = False
# Clips of each video in a step, which then has so many times TRAIN.BATCH_SIZE (repeated augmentation).
_C.AUG.NUM_SAMPLE = 1
# timm's name of a RandAugment; empty: colour jitter by 1 ± COLOR_JITTER in its place.
_C.AUG.AA_TYPE = "rand-m9-mstd0.5-inc1"
_C.AUG.COLOR_JITTER = 0.4
# Of its rotations and shears: bilinear, bicubic, random.
_C.AUG.INTERPOLATION = "bicubic"
# Random erasing: share of the clips, what is put there (pixel, rand, const), parts erased at most.
_C.AUG.RE_PROB = 0.25
_C.AUG.RE_MODE = "pixel"
_C.AUG.RE_COUNT = 1

_C.MIXUP = CfgNode()
_C.MIXUP.ENABLE = False
# Beta distributions of the shares in Mixup and CutMix; 0: not used.
_C.MIXUP.ALPHA = 0.8
_C.MIXUP.CUTMIX_ALPHA = 1.0
# Share of the pairs that are mixed, and of CutMix among them.
_C.MIXUP.PROB = 1.0
_C.MIXUP.SWITCH_PROB = 0.5
_C.MIXUP.LABEL_SMOOTH_VALUE = 0.1

_C.DATA_LOADER = CfgNode()
# Workers of each process.
_C.DATA_LOADER.NUM_WORKERS = 8
_C.DATA_LOADER.PIN_MEMORY = True
# (ours) Seconds that a worker may take to read one view of a video while the run waits for it; then the
# worker is started anew, and the video counts as broken. It needs NUM_WORKERS of 1 or more. 0: any time.
_C.DATA_LOADER.SAMPLE_TIMEOUT = 300.0

# ------------------------------------------------------------------------------------ solver
_C.SOLVER = CfgNode()
# sgd, adam, adamw
_C.SOLVER.OPTIMIZING_METHOD = "sgd"
_C.SOLVER.BASE_LR = 0.1
# Multiply BASE_LR by the number of machines (NUM_SHARDS, or as torchrun or SLURM says).
_C.SOLVER.BASE_LR_SCALE_NUM_SHARDS = False
# cosine, steps_with_relative_lrs
_C.SOLVER.LR_POLICY = "cosine"
_C.SOLVER.COSINE_END_LR = 0.0
_C.SOLVER.COSINE_AFTER_WARMUP = False
# Epochs at which a rate of LRS begins, and those rates relative to BASE_LR.
_C.SOLVER.STEPS = []
_C.SOLVER.LRS = []
_C.SOLVER.MAX_EPOCH = 300
_C.SOLVER.MOMENTUM = 0.9
_C.SOLVER.DAMPENING = 0.0
_C.SOLVER.NESTEROV = True
_C.SOLVER.BETAS = [0.9, 0.999]
_C.SOLVER.WEIGHT_DECAY = 1e-4
# No weight decay on parameters of one dimension (norms, biases) and on those the model names.
_C.SOLVER.ZERO_WD_1D_PARAM = False
_C.SOLVER.WARMUP_EPOCHS = 0.0
_C.SOLVER.WARMUP_START_LR = 0.01
# Largest absolute value, or largest norm over all parameters; None: no clipping.
_C.SOLVER.CLIP_GRAD_VAL = None
_C.SOLVER.CLIP_GRAD_L2NORM = None
# (ours) Steps whose loss or gradient is not finite are skipped; more of them than this end the run.
_C.SOLVER.MAX_SKIPPED_STEPS = 10
# Rate of a layer = rate of the layer above × this.
_C.SOLVER.LAYER_DECAY = 1.0

# Moving average of the weights (timm's ModelEma), beside the weights in checkpoints.
_C.MODEL_EMA = CfgNode()
_C.MODEL_EMA.ENABLE = False
_C.MODEL_EMA.DECAY = 0.9998
# Begin with a smaller decay, for runs of few steps.
_C.MODEL_EMA.WARMUP = False
# (ours) Validate and test the averaged weights; False: the ordinary ones.
_C.MODEL_EMA.EVALUATE = True

_C.BN = CfgNode()
# batchnorm, or sync_batchnorm: statistics over the clips of all processes (on GPUs).
_C.BN.NORM_TYPE = "batchnorm"
# Weight decay of batch-norm parameters.
_C.BN.WEIGHT_DECAY = 0.0

# ---------------------------------------------------------------------------------- machines
# Processes on this machine, one a GPU; more than there are: those there are, else one on the CPU.
_C.NUM_GPUS = 1
# Machines of the run, and which of them this one is.
_C.NUM_SHARDS = 1
_C.SHARD_ID = 0
# nccl, gloo; what the device cannot do is replaced, with a line in the log.
_C.DIST_BACKEND = "nccl"
# (ours) Seconds in which all processes of a run must have met and agreed that they are alike.
_C.DIST_START_TIMEOUT = 300.0
# (ours) Seconds that a process may wait for the others within the run; then all end, with the stacks of each
# in its log. One that gives no sign of life is given up after this time or two minutes, whichever is less.
_C.DIST_TIMEOUT = 1800.0

# (ours) How one model is trained by several processes.
_C.PARALLEL = CfgNode()
# ddp: each has all of it. fsdp: each keeps a part of weights, gradients and optimiser states, for models that
# do not fit; checkpoints are the same.
_C.PARALLEL.MODE = "ddp"
# ddp: the same parameters take part in each step; faster, not with TRAIN.GRAD_ACCUM_STEPS.
_C.PARALLEL.STATIC_GRAPH = False
# ddp: look for parameters that have no part in a step; slower, for models whose graph changes.
_C.PARALLEL.FIND_UNUSED_PARAMETERS = False

# ------------------------------------------------------------------------------- code of one's own
# (ours) Modules, or Python files, imported before a model or a data set is built, to register what is theirs.
_C.IMPORTS = ()

# ----------------------------------------------------------------------------- run and output
_C.OUTPUT_DIR = "."
_C.RNG_SEED = 1
# (ours) Use only algorithms that give the same bits each time (same machine, threads and processes); an
# operation that has none is an error.
_C.DETERMINISTIC = False
# Steps between two log lines.
_C.LOG_PERIOD = 10
_C.LOG_MODEL_INFO = True

_C.TENSORBOARD = CfgNode()
_C.TENSORBOARD.ENABLE = False
# Empty: runs-{TRAIN.DATASET} in OUTPUT_DIR.
_C.TENSORBOARD.LOG_DIR = ""
# json file, class name -> index; also read for reports and predictions.
_C.TENSORBOARD.CLASS_NAMES_PATH = ""
_C.TENSORBOARD.CONFUSION_MATRIX = CfgNode()
_C.TENSORBOARD.CONFUSION_MATRIX.ENABLE = False


def get_default_config() -> CfgNode:
    """Returns a fresh configuration with the framework's keys and those of all installed projects."""
    cfg = _C.clone()
    for project in projects():
        project.add_config(cfg)
    return cfg
