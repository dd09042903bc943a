#!/usr/bin/env python3
"""Trains and tests as a configuration says; see ``python tools/run_net.py --help``."""

import sys

import _checkout  # noqa: F401

from slowfast.run_net import main

EXAMPLES = """\
examples:
  train and test as the paper does, on your own csv files
    python tools/run_net.py --cfg configs/VTN/VIT_B_VTN.yaml DATA.PATH_TO_DATA_DIR data/kinetics

  test only, with given weights, five views of a video
    python tools/run_net.py --cfg VIT_B_VTN DATA.PATH_TO_DATA_DIR data/kinetics \\
        TRAIN.ENABLE False TEST.CHECKPOINT_FILE_PATH weights.pyth \\
        TRAIN.EVAL_FULL_VIDEO False TEST.NUM_ENSEMBLE_VIEWS 5

  a trial of two steps on a machine without GPU
    python tools/run_net.py --cfg VIT_B_VTN DATA.PATH_TO_DATA_DIR data/kinetics \\
        NUM_GPUS 0 TRAIN.BATCH_SIZE 2 TRAIN.MAX_STEPS 2 VTN.BACKBONE.PRETRAINED False

  two machines; this command on the first, and with --shard_id 1 on the second
    python tools/run_net.py --cfg VIT_B_VTN --num_shards 2 --shard_id 0 \\
        --init_method tcp://10.0.0.1:9999 DATA.PATH_TO_DATA_DIR data/kinetics

"""

if __name__ == "__main__":
    sys.exit(main(examples=EXAMPLES))
