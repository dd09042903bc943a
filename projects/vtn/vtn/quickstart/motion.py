"""What an object does in a clip, as numbers: eight classes in four pairs, each the other run backwards.

The frames of a clip, seen as a set, have the same distribution for both classes of a pair: a clip of the
second class is drawn exactly as one of the first and then reversed in time. So a model that ignores order
cannot get above one half, and one that reads order can get everything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# (class, the class that it becomes when it runs backwards)
PAIRS: tuple[tuple[str, str], ...] = (
    ("move right", "move left"),
    ("move down", "move up"),
    ("approach", "recede"),
    ("appear", "disappear"),
)

CLASSES: tuple[str, ...] = tuple(name for pair in PAIRS for name in pair)


@dataclass(frozen=True)
class Motion:
    """An object and the camera over T frames; lengths are shares of the frame's shorter side.

    Attributes:
        centre: (T, 2) the object's centre (x, y) from the middle of the frame.
        size: (T,) the object's diameter.
        opacity: (T,) 0 … 1.
        camera: (T, 2) how far the background has shifted.
    """

    centre: NDArray[np.float64]
    size: NDArray[np.float64]
    opacity: NDArray[np.float64]
    camera: NDArray[np.float64]

    def reversed(self) -> Motion:
        """Returns the same motion backwards in time."""
        return Motion(self.centre[::-1], self.size[::-1], self.opacity[::-1], self.camera[::-1])


def plan_motion(label: int, num_frames: int, rng: np.random.Generator) -> Motion:
    """Draws the motion of one clip of class ``label`` (index into ``CLASSES``)."""
    pair, backwards = divmod(label, 2)
    time = np.linspace(-0.5, 0.5, num_frames)
    # Every draw below happens for every class, so that no other random quantity depends on the label.
    place = rng.uniform(-0.15, 0.15, 2)
    drift = rng.uniform(-0.04, 0.04, 2)
    size = 0.32 * np.exp(rng.uniform(-0.25, 0.25))
    travel = rng.uniform(0.45, 0.65)
    growth = rng.uniform(2.2, 3.2)
    moment, fade = rng.uniform(-0.12, 0.12), rng.uniform(0.10, 0.35)
    pan = rng.uniform(-0.05, 0.05, 2)

    centre = place + time[:, None] * drift
    diameter = np.full(num_frames, size)
    opacity = np.ones(num_frames)
    if pair < 2:  # the motion runs along one axis, x or y
        centre[:, pair] = place[pair] + time * travel
    elif pair == 2:
        diameter = size * growth**time
    else:
        opacity = np.clip((time - moment) / fade + 0.5, 0.0, 1.0)
    shake = rng.normal(0.0, 0.003, (num_frames, 2))
    motion = Motion(centre, diameter, opacity, time[:, None] * pan + shake)
    return motion.reversed() if backwards else motion
