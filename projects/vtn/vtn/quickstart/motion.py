"""The motion of an object in a clip: eight classes, which are four pairs of a motion and its reverse.

A clip of the second class of a pair is drawn exactly like one of the first class and then reversed in time.
The frames of a clip, taken as a set, therefore have the same distribution for both classes of a pair: a model
that ignores the order of frames classifies half of the videos correctly, a model that uses it all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# (class, class of the same motion reversed in time)
PAIRS: tuple[tuple[str, str], ...] = (
    ("move right", "move left"),
    ("move down", "move up"),
    ("approach", "recede"),
    ("appear", "disappear"),
)

CLASSES: tuple[str, ...] = tuple(name for pair in PAIRS for name in pair)


@dataclass(frozen=True)
class Motion:
    """Positions of an object and of the camera over T frames.

    Lengths are fractions of the shorter side of a frame.

    Attributes:
        centre: (T, 2) centre (x, y) of the object, relative to the middle of the frame.
        size: (T,) diameter of the object.
        opacity: (T,) opacity of the object, 0 to 1.
        camera: (T, 2) shift (x, y) of the background.
    """

    centre: NDArray[np.float64]
    size: NDArray[np.float64]
    opacity: NDArray[np.float64]
    camera: NDArray[np.float64]

    def reversed(self) -> Motion:
        """Returns the same motion, reversed in time."""
        return Motion(self.centre[::-1], self.size[::-1], self.opacity[::-1], self.camera[::-1])


def plan_motion(label: int, num_frames: int, rng: np.random.Generator) -> Motion:
    """Returns a random motion over ``num_frames`` frames of class ``label``, an index into ``CLASSES``."""
    pair, backwards = divmod(label, 2)
    time = np.linspace(-0.5, 0.5, num_frames)
    # Every class draws the same numbers, so that no other random quantity depends on the label.
    start = rng.uniform(-0.15, 0.15, 2)
    drift = rng.uniform(-0.04, 0.04, 2)
    size = 0.32 * np.exp(rng.uniform(-0.25, 0.25))
    travel = rng.uniform(0.45, 0.65)
    growth = rng.uniform(2.2, 3.2)
    moment, fade = rng.uniform(-0.12, 0.12), rng.uniform(0.10, 0.35)
    pan = rng.uniform(-0.05, 0.05, 2)

    centre = start + time[:, None] * drift
    diameter = np.full(num_frames, size)
    opacity = np.ones(num_frames)
    if pair < 2:  # moves along one axis, x or y
        centre[:, pair] = start[pair] + time * travel
    elif pair == 2:
        diameter = size * growth**time
    else:
        opacity = np.clip((time - moment) / fade + 0.5, 0.0, 1.0)
    shake = rng.normal(0.0, 0.003, (num_frames, 2))
    motion = Motion(centre, diameter, opacity, time[:, None] * pan + shake)
    return motion.reversed() if backwards else motion
