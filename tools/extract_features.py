#!/usr/bin/env python3
"""Makes a feature cache of a data set; see ``python tools/extract_features.py --help``."""

import sys

import _checkout  # noqa: F401

from slowfast.extract_features import main

EXAMPLES = """\
examples:
  of the videos of train.csv, val.csv and test.csv, every frame of each
    python tools/extract_features.py --cfg VIT_B_VTN_FROZEN DATA.PATH_TO_DATA_DIR data/kinetics \\
        DATA.FEATURES data/kinetics_vit_b

  then train and test from them, with the same configuration
    python tools/run_net.py --cfg VIT_B_VTN_FROZEN DATA.PATH_TO_DATA_DIR data/kinetics \\
        DATA.FEATURES data/kinetics_vit_b

  five frames a second, three crops and their mirror images for training, eight processes
    torchrun --nproc_per_node 8 tools/extract_features.py --cfg VIT_B_VTN_FROZEN --crops 3 --flips \\
        DATA.PATH_TO_DATA_DIR data/kinetics DATA.FEATURES data/kinetics_5fps DATA.FEATURES_FPS 5

Videos that are complete are not made again; the same command goes on after Ctrl-C.

"""

if __name__ == "__main__":
    sys.exit(main(examples=EXAMPLES))
