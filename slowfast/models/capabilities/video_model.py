"""The capability that every model has, which maps frames to logits, and that of models without a mask.

B clips, T frames, H W pixels, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:  # see the package
    from torch import Tensor


@runtime_checkable
class VideoModel(Protocol):
    """A model of the framework: a module with these attributes that maps frames to logits.

    Attributes:
        frame_mean, frame_std: three floats each, the normalisation that the weights were trained with. The
            data layer uses them where ``DATA.NORMALIZATION`` is ``backbone``.
        position_rate: None where positions are frame indices of the source video; otherwise positions are
            ``round(seconds × position_rate)``.
        num_classes: K.
    """

    frame_mean: tuple[float, float, float]
    frame_std: tuple[float, float, float]
    position_rate: float | None
    num_classes: int
    __call__: ClassVar[Any]

    def forward(self, frames: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Maps normalised float frames (B, 3, T, H, W) to logits (B, K).

        Args:
            positions: (B, T) int64; None: 0 … T−1.
            mask: (B, T) bool, True where a frame is real; None: all frames are real.
        """
        ...


@runtime_checkable
class FillsShortClips(Protocol):
    """A model that cannot leave out frames: the last frame of a shorter clip is repeated instead.

    In evaluation, clips of different lengths are in different batches, so that scores do not depend on the
    batch.

    Attributes:
        filled_frames: number of frames to which all shorter clips are filled.
    """

    filled_frames: int
