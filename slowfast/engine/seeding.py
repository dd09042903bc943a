"""Random numbers as a function of where a run is, so that a resumed run draws the same ones."""

from __future__ import annotations

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
