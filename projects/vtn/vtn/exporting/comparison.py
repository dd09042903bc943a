"""Exported files beside the model they come from: largest differences, and times on this processor."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vtn.exported.programs import Program
from vtn.exporting.parts import Part

TOLERANCE = 1e-4
"""Largest accepted difference of scores, and of features as a fraction of the largest feature."""
LENGTHS = (1, 16, 250, 4096)
"""Numbers of frames that are compared by default."""

# Pixels of all frames of one pass; a network's activations need tens of times their memory.
_MOST_PIXELS = 1 << 24
_SECONDS, _MOST_RUNS = 4.0, 15


@dataclass(frozen=True)
class Parity:
    """The difference between a file and the model for one number of frames.

    Attributes:
        part: of the file.
        frames, clips: of the input; the last third of the last clip is masked.
        difference: the largest of all scores; of features as a fraction of the largest one. None: not
            compared, since the frames of one pass would need too much memory.
    """

    part: str
    frames: int
    clips: int
    difference: float | None

    @property
    def is_close(self) -> bool:
        """Whether the difference is accepted."""
        return self.difference is None or self.difference <= TOLERANCE


@dataclass(frozen=True)
class Speed:
    """Times of one pass of a file and of the model on the same input.

    Attributes:
        file: name of the file.
        frames: of one clip.
        eager_seconds, file_seconds: the shortest of several passes.
    """

    file: str
    frames: int
    eager_seconds: float
    file_seconds: float

    @property
    def factor(self) -> float:
        """Speed of the file as a multiple of that of the model."""
        return self.eager_seconds / self.file_seconds


def compare(part: Part, program: Program, lengths: Sequence[int]) -> list[Parity]:
    """Returns the differences for several numbers of frames.

    Short clips are compared in a batch of two, long ones alone.
    """
    rows = []
    for length in lengths:
        clips = 2 if length <= 16 or not part.takes_frames else 1
        difference = None
        if _fits(part, clips * length):
            difference = _difference(part, program, part.make_inputs(clips, length))
        rows.append(Parity(part.name, length, clips, difference))
    return rows


def longest_that_fits(part: Part, lengths: Sequence[int]) -> int:
    """Returns the largest number of frames of ``lengths`` up to 250 that one pass should take; 1 at least."""
    return max((length for length in lengths if length <= 250 and _fits(part, length)), default=1)


def measure_speed(part: Part, programs: Mapping[str, Program], num_frames: int) -> list[Speed]:
    """Returns the times of files beside the model's.

    Args:
        programs: name of the file -> its graph.
        num_frames: of the one clip.
    """
    tensors = part.make_inputs(1, num_frames)
    with torch.no_grad():
        eager = _fastest(part.module, tensors)
    return [Speed(name, num_frames, eager, _fastest(program, tensors)) for name, program in programs.items()]


def _fastest(run: Callable[..., object], inputs: tuple[Tensor, ...]) -> float:
    """Returns the shortest duration of a function, which other programs disturb least.

    The first call is not counted.
    """
    run(*inputs)
    found: list[float] = []
    started = time.monotonic()
    while len(found) < _MOST_RUNS and (not found or time.monotonic() - started < _SECONDS):
        before = time.perf_counter()
        run(*inputs)
        found.append(time.perf_counter() - before)
    return min(found)


@torch.no_grad()
def _difference(part: Part, program: Program, inputs: tuple[Tensor, ...]) -> float:
    expected, found = part.module(*inputs), program(*inputs)
    difference = (found - expected).abs().max()
    # Features have any scale, scores that of the activation.
    scale = expected.abs().max().clamp(min=1e-12) if part.output == "features" else 1.0
    return float(difference / scale)


def _fits(part: Part, num_frames: int) -> bool:
    height, width = part.description.frame_size
    return not part.takes_frames or num_frames * height * width <= _MOST_PIXELS
