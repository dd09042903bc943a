#!/usr/bin/env python3
"""Trains and tests as a configuration says; see ``python tools/run_net.py --help``."""

import sys
from importlib.util import find_spec
from pathlib import Path

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

if find_spec("slowfast") is None:
    # A checkout that is not installed: the packages lie beside this folder, and no entry point names them.
    ROOT = Path(__file__).resolve().parents[1]
    sys.path += [str(ROOT), str(ROOT / "projects" / "vtn")]
    from slowfast.registry import announce_project

    announce_project("vtn", "vtn.project:PROJECT")

from slowfast.cli.run import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(examples=EXAMPLES))
