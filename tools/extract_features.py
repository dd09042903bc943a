#!/usr/bin/env python3
"""Makes a feature cache of a data set; see ``python tools/extract_features.py --help``."""

import sys
from importlib.util import find_spec
from pathlib import Path

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

if find_spec("slowfast") is None:
    # A checkout that is not installed: the packages lie beside this folder, and no entry point names them.
    ROOT = Path(__file__).resolve().parents[1]
    sys.path += [str(ROOT), str(ROOT / "projects" / "vtn")]
    from slowfast.registry import announce_project

    announce_project("vtn", "vtn.project:PROJECT")

from slowfast.cli.extract import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(examples=EXAMPLES))
