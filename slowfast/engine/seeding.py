"""Random numbers as a function of the progress of a run, and algorithms that give the same bits every time.

Lightning's ``seed_everything`` and its like seed a run once, at its start. Here the generators are seeded in
each step, so that a resumed run draws the same numbers without any generator state in the checkpoint.
"""

from __future__ import annotations

import os
import random

import numpy as np
import torch


def seed_generators(seed: int, *key: int) -> None:
    """Seeds the global generators of Python, NumPy and torch (on all devices) with a hash of all arguments.

    Args:
        seed: of the run, ≥ 0.
        key: integers ≥ 0 that identify the part of the run, such as rank, epoch and step.
    """
    words = np.random.SeedSequence([seed, *key]).generate_state(3, np.uint64)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]) % 2**32)
    torch.manual_seed(int(words[2]) % 2**63)


def compute_deterministically() -> None:
    """Restricts torch to algorithms that give the same bits every time, for the rest of this process.

    An operation without such an algorithm raises a ``RuntimeError`` from then on.
    """
    # cuBLAS reads this before its first product; its documentation names this workspace size.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)
