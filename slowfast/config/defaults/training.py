"""Keys of training: its steps and checkpoints, the optimiser and the learning rates."""

from __future__ import annotations

from fvcore.common.config import CfgNode

KEYS = CfgNode()

KEYS.TRAIN = CfgNode()
KEYS.TRAIN.ENABLE = True
# A name in DATASET_REGISTRY.
KEYS.TRAIN.DATASET = "kinetics"
# Clips per step on one node, over all of its processes.
KEYS.TRAIN.BATCH_SIZE = 64
# Epochs between two validations; the last epoch is always validated.
KEYS.TRAIN.EVAL_PERIOD = 10
# Epochs between two checkpoints; the last epoch is always saved.
KEYS.TRAIN.CHECKPOINT_PERIOD = 10
# Resume from the newest checkpoint in OUTPUT_DIR.
KEYS.TRAIN.AUTO_RESUME = True
# (new) Resume although the configuration or the list of videos has changed in a way that makes it another
# run. State that cannot be restored is initialised again, and the log lists it.
KEYS.TRAIN.FORCE_RESUME = False
# (new) Minutes between two checkpoints within an epoch; 0: no such checkpoints.
KEYS.TRAIN.CHECKPOINT_MINUTES = 30.0
# (new) Optimiser steps between two checkpoints, counted from the start of the run; 0: no such checkpoints.
KEYS.TRAIN.CHECKPOINT_STEPS = 0
# (new) End the training after this many validations of full epochs without improvement; 0: never. The
# learning rates remain those of MAX_EPOCH epochs.
KEYS.TRAIN.PATIENCE = 0
# (new) Smallest difference that counts as an improvement, in the unit of BEST_METRIC.
KEYS.TRAIN.MIN_IMPROVEMENT = 0.0
# (new) Validation metric of the best checkpoint: loss, top1_err, top5_err, balanced_acc, macro_f1, auroc (two
# classes), map (several classes per video). Empty: top1_err or map.
KEYS.TRAIN.BEST_METRIC = ""
# (new) Number of epoch checkpoints to keep, the newest ones and the best validated one; 0: all.
KEYS.TRAIN.KEEP_CHECKPOINTS = 0
# Checkpoint whose weights the training starts from.
KEYS.TRAIN.CHECKPOINT_FILE_PATH = ""
# Take only the weights of CHECKPOINT_FILE_PATH and start at epoch 0 with a new optimiser.
KEYS.TRAIN.CHECKPOINT_EPOCH_RESET = False
# (new) Re-initialise a head whose size differs from the checkpoint's, instead of an error.
KEYS.TRAIN.CHECKPOINT_RESET_HEAD = False
# (new) Precision of matrix products: float32, bfloat16, float16, or mixed: bfloat16 where the device supports
# it, else float16. The weights stay float32. It also holds for validation and test.
KEYS.TRAIN.PRECISION = "float32"
# (new) Compile the trained network with torch.compile: the first steps take a minute longer, and dropout
# draws other random numbers.
KEYS.TRAIN.COMPILE = False
# PySlowFast's name for TRAIN.PRECISION mixed.
KEYS.TRAIN.MIXED_PRECISION = False
# (new) Gradient accumulation: number of micro-batches that each process's clips are split into. BATCH_SIZE
# remains the number of clips of the full step, and the loss and gradients remain those of the full batch,
# except where batch norms are in training mode: they have the statistics of micro-batches, and the log warns.
KEYS.TRAIN.GRAD_ACCUM_STEPS = 1
# (new) Train on DATA.NUM_FRAMES frames spread over the full video, one drawn from each of as many equal
# parts, instead of frames DATA.SAMPLING_RATE apart.
KEYS.TRAIN.FULL_VIDEO = False
# (VTN) Validate and test on full videos, one view per video, instead of on clips.
KEYS.TRAIN.EVAL_FULL_VIDEO = False
# (VTN) Frames spaced uniformly over the full video; 0: every frame at DATA.TARGET_FPS.
KEYS.TRAIN.EVAL_NUM_FRAMES = 0
# (new) Evaluated views of more frames than this are decoded in chunks while the model runs, if the model
# encodes each frame by itself; 0: never.
KEYS.TRAIN.EVAL_STREAM_FRAMES = 512
# (new) Steps (at least a twentieth of the training) after which the log has a hint, with measured reasons, if
# the training loss has not moved; 0: never.
KEYS.TRAIN.STALL_STEPS = 200
# (new) Total number of optimiser steps after which the run stops; 0: no limit.
KEYS.TRAIN.MAX_STEPS = 0

KEYS.SOLVER = CfgNode()
# A name in OPTIMIZER_REGISTRY: sgd, adam, adamw.
KEYS.SOLVER.OPTIMIZING_METHOD = "sgd"
KEYS.SOLVER.BASE_LR = 0.1
# Multiply the learning rates by the number of nodes (NUM_SHARDS, or the number given by torchrun or SLURM).
KEYS.SOLVER.BASE_LR_SCALE_NUM_SHARDS = False
# A name in LR_POLICY_REGISTRY: cosine, steps_with_relative_lrs.
KEYS.SOLVER.LR_POLICY = "cosine"
KEYS.SOLVER.COSINE_END_LR = 0.0
KEYS.SOLVER.COSINE_AFTER_WARMUP = False
# Epochs from which the learning rates LRS apply; these are relative to BASE_LR.
KEYS.SOLVER.STEPS = []
KEYS.SOLVER.LRS = []
KEYS.SOLVER.MAX_EPOCH = 300
KEYS.SOLVER.MOMENTUM = 0.9
KEYS.SOLVER.DAMPENING = 0.0
KEYS.SOLVER.NESTEROV = True
KEYS.SOLVER.BETAS = [0.9, 0.999]
KEYS.SOLVER.WEIGHT_DECAY = 1e-4
# No weight decay on parameters of one dimension (norms, biases) and on those that the model names.
KEYS.SOLVER.ZERO_WD_1D_PARAM = False
# Epochs of a warm-up: a straight line from WARMUP_START_LR, which must not be above BASE_LR, to the learning
# rate of the policy; 0: none.
KEYS.SOLVER.WARMUP_EPOCHS = 0.0
KEYS.SOLVER.WARMUP_START_LR = 0.01
# Clip gradients to this absolute value, or to this norm over all parameters; None: no clipping.
KEYS.SOLVER.CLIP_GRAD_VAL = None
KEYS.SOLVER.CLIP_GRAD_L2NORM = None
# (new) Largest number of steps that may be skipped because their loss or gradient is not finite.
KEYS.SOLVER.MAX_SKIPPED_STEPS = 10
# Learning rate of a layer, divided by that of the next layer towards the output.
KEYS.SOLVER.LAYER_DECAY = 1.0
# (new) Factors of the learning rate of parts of the model, by the names of its modules, such as
# {backbone: 0.1, mlp_head: 10}; a part of a part is a section of its own. The longest name that fits counts.
KEYS.SOLVER.LR_FACTORS = CfgNode(new_allowed=True)

# Moving average of the weights (as timm's ModelEma), saved in checkpoints beside the weights.
KEYS.MODEL_EMA = CfgNode()
KEYS.MODEL_EMA.ENABLE = False
KEYS.MODEL_EMA.DECAY = 0.9998
# Start with a smaller decay, for runs of few steps.
KEYS.MODEL_EMA.WARMUP = False
# (new) Validate and test the averaged weights; False: the weights as trained.
KEYS.MODEL_EMA.EVALUATE = True

KEYS.BN = CfgNode()
# batchnorm, or sync_batchnorm for statistics over the clips of all processes (on GPUs).
KEYS.BN.NORM_TYPE = "batchnorm"
# Weight decay of batch-norm parameters.
KEYS.BN.WEIGHT_DECAY = 0.0
