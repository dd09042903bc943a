"""Random numbers as a function of where a run is, so that a resumed run draws the same ones, and algorithms
that give the same bits each time."""

from __future__ import annotations

import os
import random

import numpy as np
import torch


def seed_generators(seed: int, *place: int) -> None:
    """Seeds the global generators of Python, NumPy and torch (all devices) from ``seed`` and ``place``.

    Args:
        seed: of the run, ≥ 0.
        place: whole numbers ≥ 0 that say where the run is, for instance rank, epoch and step.
    """
    words = np.random.SeedSequence([seed, *place]).generate_state(3, np.uint64)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]) % 2**32)
    torch.manual_seed(int(words[2]) % 2**63)


def compute_deterministically() -> None:
    """Has torch use only algorithms that give the same bits each time, from now on in this process.

    An operation that has none raises a ``RuntimeError``.
    """
    # Read when the first product is computed on a GPU; this much is what cuBLAS asks for.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)
