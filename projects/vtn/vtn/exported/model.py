"""An exported model with the interface of the models of this project, for prediction.

B clips, T frames, H W pixels, M tokens of a frame, F width of a feature, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from slowfast.errors import CheckpointError, InputError
from vtn.encoder.input_checks import check_frames, check_positions_and_mask, check_sequence, check_state
from vtn.exported.description import BACKBONE, ENCODER, MODEL
from vtn.exported.files import choose_file, find_other_part
from vtn.exported.programs import Program, open_program

_FRAMES_PER_PASS = 16
# Pixels of all frames that a file for frames and scores takes at once; its memory grows with them.
_MOST_PIXELS = 1 << 25
_MOST_FRAMES = 16_384


class ExportedModel(nn.Module):
    """A model whose network is one exported file, or two: backbone and encoder.

    It computes on the CPU, in float32, and its results are scores: the graph contains the score activation.

    Args:
        programs: ``model`` alone, or ``backbone`` and ``encoder``.
        source: name of the model, for messages.

    Attributes:
        class_names, num_classes, frame_mean, frame_std, feature_shape, position_rate, evaluation: see
            :class:`vtn.exported.description.Description`; ``evaluation`` has no score activation, and the
            frames that one file takes at once.
        clip_grid, chunk_frames: see ``vtn.frame_model.FrameModel``.

    Raises:
        CheckpointError: for parts of different models.
    """

    clip_grid = None
    chunk_frames = 0

    def __init__(self, programs: Mapping[str, Program], source: str) -> None:
        super().__init__()
        self._programs = dict(programs)
        first, *others = self._programs.values()
        self.description = first.description
        if any(other.description.weights_digest != self.description.weights_digest for other in others):
            raise CheckpointError(
                f"{source}: backbone and encoder are of different weights; export both together"
            )
        self._source = source
        self.class_names = self.description.class_names
        self.num_classes = self.description.num_classes
        self.frame_mean = self.description.frame_mean
        self.frame_std = self.description.frame_std
        self.feature_shape = self.description.feature_shape
        self.position_rate = self.description.position_rate
        self.evaluation = {**self.description.evaluation, "MODEL.HEAD_ACT": "none"}
        if MODEL in self._programs:
            self.evaluation["TRAIN.EVAL_STREAM_FRAMES"] = self.most_frames
        self.eval()

    @property
    def most_frames(self) -> int:
        """Largest number of frames of a clip for a model in one file."""
        height, width = self.description.frame_size
        return max(1, min(_MOST_FRAMES, _MOST_PIXELS // (height * width)))

    @property
    def has_parts(self) -> bool:
        """Whether backbone and encoder are files of their own, so that features can be kept between them."""
        return BACKBONE in self._programs

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Returns the model.

        Raises:
            InputError: for another device than the CPU.
        """
        device = torch._C._nn._parse_to(*args, **kwargs)[0]
        if device is not None and device.type != "cpu":
            raise InputError(f"device = {device}: must be cpu for an exported model")
        return self

    def forward(self, frames: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Maps normalised float frames (B, 3, T, H, W) to scores (B, K).

        Args:
            positions: (B, T) of an integer dtype; None: 0 … T − 1.
            mask: (B, T) bool, True where a frame is real; None: all are real.

        Raises:
            InputError: for shapes and dtypes that do not fit.
            NotFiniteError: for scores that are NaN or infinite.
        """
        if MODEL not in self._programs:
            return self.classify(self.encode_frames(frames, mask), positions, mask)
        self._check_frames(frames)
        shape = (frames.shape[0], frames.shape[2])
        if shape[1] > self.most_frames:
            raise self._takes_too_many(shape[1])
        check_positions_and_mask(positions, mask, torch.Size(shape))
        scores = self._scores(MODEL, frames.float(), *_filled_in(positions, mask, shape))
        check_state(scores, frames.transpose(1, 2), mask, inputs="frames")
        return scores

    def encode_frames(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """Maps normalised float frames (B, 3, T, H, W) to features (B, T, F) or (B, T, M, F).

        Args:
            mask: (B, T) bool; features are 0 where it is False.

        Raises:
            InputError: for frames or a mask of another shape, and for a model in one file.
        """
        if BACKBONE not in self._programs:
            raise self._takes_too_many(frames.shape[2])
        self._check_frames(frames, mask)
        real = frames.new_ones(frames.shape[0], frames.shape[2], dtype=torch.bool) if mask is None else mask
        images = frames.transpose(1, 2)[real].float()  # (N, 3, H, W)
        features = torch.zeros(*real.shape, *self.feature_shape)
        encoded = [
            self._programs[BACKBONE](part.transpose(0, 1)[None].contiguous())[0]
            for part in images.split(_FRAMES_PER_PASS)
        ]
        features[real] = torch.cat(encoded)
        return features

    def classify(
        self, features: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Maps features (B, T, F) or (B, T, M, F) to scores (B, K); other arguments as in :meth:`forward`."""
        if ENCODER not in self._programs:
            raise self._takes_too_many(features.shape[1])
        check_sequence(features, positions, mask, self.feature_shape)
        scores = self._scores(ENCODER, features.float(), *_filled_in(positions, mask, features.shape[:2]))
        check_state(scores, features, mask)
        return scores

    def _scores(self, part: str, *inputs: Tensor) -> Tensor:
        """Returns the scores (B, K) of a graph, which may not be the one that the description is of."""
        scores = self._programs[part](*inputs)
        if scores.shape[1:] != (self.num_classes,):
            raise CheckpointError(
                f"{self._source}: gives scores of shape {tuple(scores.shape)}: must be those of "
                f"{self.num_classes} classes, as it is described; export the model again"
            )
        return scores

    def _check_frames(self, frames: Tensor, mask: Tensor | None = None) -> None:
        check_frames(frames, mask)
        expected = tuple(self.description.frame_size)
        if frames.shape[-2:] != expected:
            height, width = frames.shape[-2:]
            raise InputError(
                f"frames have {height}×{width} pixels: must be {expected[0]}×{expected[1]}, the size that "
                f"{self._source} was exported for; export the model again for another size"
            )

    def _takes_too_many(self, num_frames: int) -> InputError:
        return InputError(
            f"{num_frames} frames: {self._source} is one file, which takes at most {self.most_frames} frames "
            "at once, and gives no features; export the model with --parts backbone encoder"
        )


def _filled_in(
    positions: Tensor | None, mask: Tensor | None, shape: tuple[int, ...] | torch.Size
) -> tuple[Tensor, Tensor]:
    """Returns positions (B, T) int64 and mask (B, T) bool, where the caller may have left them out."""
    if positions is None:
        positions = torch.arange(shape[1]).expand(*shape)
    if mask is None:
        mask = torch.ones(*shape, dtype=torch.bool)
    return positions.long().contiguous(), mask.contiguous()


def load_exported(source: str | Path, *, trust_code: bool = False) -> ExportedModel:
    """Returns the model of an exported file, with its other part beside it, or of a folder.

    Args:
        trust_code: whether ``.pt2`` archives may be opened, see :class:`vtn.exported.programs.TorchProgram`.

    Raises:
        CheckpointError: for files that are damaged, missing, or do not belong together.
        ModelError: where onnxruntime is not installed.
    """
    path = choose_file(source)
    program = open_program(path, trust_code=trust_code)
    part = program.description.part
    programs: dict[str, Program] = {part: program}
    if part != MODEL:
        beside = find_other_part(path, part, program.description.architecture)
        other = open_program(beside, trust_code=trust_code)
        programs[other.description.part] = other
        if set(programs) != {BACKBONE, ENCODER}:
            raise CheckpointError(
                f"{beside}: its part is {other.description.part}; must be the part that {path} lacks; export "
                "both together"
            )
    return ExportedModel(programs, str(source))
