"""Orders in which the frames of a view are given to a model, to measure what the order tells it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

GIVEN, SHUFFLED, REVERSED, STILL = "given", "shuffled", "reversed", "still"

_ORDERS: Mapping[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    SHUFFLED: lambda count, rng: rng.permutation(count),
    REVERSED: lambda count, rng: np.arange(count)[::-1].copy(),
    # The frame in the middle takes the places of all frames, so that models of a fixed length can be tested.
    STILL: lambda count, rng: np.full(count, count // 2),
}


def order_frames(order: str, count: int, rng: np.random.Generator) -> Tensor | None:
    """Returns the frames of a view in another order, as indices (T,) int64; the positions keep theirs.

    Args:
        order: ``given``, ``shuffled``, ``reversed``, or ``still``: the frame in the middle T times.
        count: T.
        rng: generator of the shuffled order.

    Returns:
        None for ``given``: the frames stay as they are.

    >>> order_frames("reversed", 4, np.random.default_rng(0)).tolist()
    [3, 2, 1, 0]
    >>> order_frames("still", 4, np.random.default_rng(0)).tolist()
    [2, 2, 2, 2]
    """
    if order == GIVEN:
        return None
    return torch.from_numpy(_ORDERS[order](count, rng).astype(np.int64))
