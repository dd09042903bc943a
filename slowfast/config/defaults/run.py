"""Keys of the run as a whole: its processes, the user's code, its output folder and its precision."""

from __future__ import annotations

from fvcore.common.config import CfgNode

KEYS = CfgNode()

# Processes on this node, one per GPU; at most one per GPU that the node has, and one process on the CPU where
# it has none.
KEYS.NUM_GPUS = 1
# Number of nodes of the run, and the rank of this node among them.
KEYS.NUM_SHARDS = 1
KEYS.SHARD_ID = 0
# nccl, gloo; a backend that does not support the device is replaced, and the log states it.
KEYS.DIST_BACKEND = "nccl"
# (new) Seconds within which all processes of a run must connect and find that their setups agree.
KEYS.DIST_START_TIMEOUT = 300.0
# (new) Seconds that a process may wait for the others during the run. After that all processes end and log
# their stacks. A process without a heartbeat counts as lost after this time or after two minutes, whichever
# is shorter.
KEYS.DIST_TIMEOUT = 1800.0

# (new) How several processes train one model.
KEYS.PARALLEL = CfgNode()
# ddp: every process holds the full model. fsdp: weights, gradients and optimiser states are sharded over the
# processes, for models that do not fit one GPU; checkpoints are the same.
KEYS.PARALLEL.MODE = "ddp"
# ddp: the same parameters are used in every step; faster, not with TRAIN.GRAD_ACCUM_STEPS above 1.
KEYS.PARALLEL.STATIC_GRAPH = False
# ddp: find the parameters that a step does not use; slower, for models whose graph changes.
KEYS.PARALLEL.FIND_UNUSED_PARAMETERS = False

# (new) Modules or Python files that are imported before names are looked up, so that they register their
# models, data sets, losses and other components.
KEYS.IMPORTS = ()

KEYS.OUTPUT_DIR = "."
KEYS.RNG_SEED = 1
# (new) Precision of float32 matrix products on a GPU in training and tests, as
# torch.set_float32_matmul_precision takes it: high allows TensorFloat32, which is several times as fast;
# highest does not.
KEYS.MATMUL_PRECISION = "high"
# (new) Use only algorithms whose results are identical in every run with the same hardware, threads and
# processes; an operation without such an algorithm is an error.
KEYS.DETERMINISTIC = False
# Steps between two log lines.
KEYS.LOG_PERIOD = 10
KEYS.LOG_MODEL_INFO = True
