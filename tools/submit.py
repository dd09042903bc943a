#!/usr/bin/env python3
"""Puts a run into the queue of a SLURM cluster; see ``python tools/submit.py --help``."""

import sys

from slowfast.cli.submit import main

EXAMPLES = """\
examples:
  two machines of eight GPUs each
    python tools/submit.py --nodes 2 --partition gpu -- --cfg VIT_B_VTN \\
        DATA.PATH_TO_DATA_DIR data/kinetics OUTPUT_DIR output/k400

  what would run there, as a job on this machine, without a GPU
    python tools/submit.py --cluster local --gpus 0 --wait -- --cfg QUICKSTART \\
        DATA.PATH_TO_DATA_DIR output/quickstart/data OUTPUT_DIR output/job SOLVER.MAX_EPOCH 1
"""

if __name__ == "__main__":
    sys.exit(main(examples=EXAMPLES))
