"""The classes of a pair differ in the order of frames and in nothing else."""

import numpy as np
import pytest

from vtn.quickstart.motion import CLASSES, PAIRS, Motion, plan_motion


def draw(label: int, seed: int = 0, num_frames: int = 15) -> Motion:
    return plan_motion(label, num_frames, np.random.default_rng(seed))


@pytest.mark.parametrize("pair", range(len(PAIRS)))
@pytest.mark.parametrize("seed", range(5))
def test_a_class_is_the_other_of_its_pair_reversed(pair: int, seed: int) -> None:
    forwards, backwards = draw(2 * pair, seed), draw(2 * pair + 1, seed)
    for name in ("centre", "size", "opacity", "camera"):
        np.testing.assert_array_equal(getattr(backwards, name), getattr(forwards, name)[::-1])


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_the_motion_fits_the_name_of_the_class(label: int) -> None:
    motion = draw(label)
    (dx, dy), growth = motion.centre[-1] - motion.centre[0], motion.size[-1] / motion.size[0]
    change = motion.opacity[-1] - motion.opacity[0]
    observed = {
        "move right": dx > 0.4,
        "move left": dx < -0.4,
        "move down": dy > 0.4,
        "move up": dy < -0.4,
        "approach": growth > 2,
        "recede": growth < 0.5,
        "appear": change == 1,
        "disappear": change == -1,
    }
    assert [name for name, happens in observed.items() if happens] == [CLASSES[label]]
