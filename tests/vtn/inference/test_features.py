"""The features of a video with their times, and parts of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from slowfast.errors import InputError
from slowfast.video.frame_times import FrameTimes
from vtn import VideoFeatures

STARTS = np.array([3, 7, 11, 15])  # time steps of four frames, from frame 3 on
DECODED = torch.tensor([True, True, False, True])


def steps(mask: torch.Tensor | None = None, centres: np.ndarray | None = None) -> VideoFeatures:
    return VideoFeatures(torch.arange(8.0).view(4, 2), FrameTimes(np.arange(4.0), 4.0), STARTS, mask, centres)


def test_a_part_is_a_video_of_its_own_with_its_own_rows_alone() -> None:
    part = steps(DECODED, STARTS + 2).part(1.0, 3.0)
    assert part.features.tolist() == [[2, 3], [4, 5]]
    assert part.indices.tolist() == [0, 4]
    assert part.frame_numbers.tolist() == [2, 6]  # from the first frame of the first step
    assert part.mask is not None
    assert part.mask.tolist() == [True, False]
    assert (part.num_decoded, part.duration) == (1, 2.0)
    assert part.times.seconds.tolist() == [0.0, 1.0]


def test_without_mask_and_centres_each_row_is_a_decoded_frame() -> None:
    video = steps()
    assert video.num_decoded == 4
    assert video.frame_numbers.tolist() == STARTS.tolist()
    part = video.part(2.0, 4.0)
    assert part.mask is None
    assert part.centres is None
    assert part.frame_numbers.tolist() == [0, 4]


@pytest.mark.parametrize("shape", [(0, 2), (3, 2), (4,), (4, 1, 1, 2)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    times = FrameTimes(np.arange(4.0), 4.0)
    with pytest.raises(InputError, match=r"must be features \(frames, width\) or \(frames, tokens, width\)"):
        VideoFeatures(torch.zeros(shape), times, STARTS)
