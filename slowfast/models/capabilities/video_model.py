"""The capability that every model has, which maps frames to logits, and those that concern the size of frames
and the parameters: classes, decay, sharding, weights, memory.

B clips, T frames, H W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:  # see the package
    import torch
    from torch import Tensor, nn


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


@runtime_checkable
class HasFrameSize(Protocol):
    """A model that was built for frames of one size.

    Attributes:
        frame_size: pixels of both sides; None: any size. Used where a crop size of the configuration is 0.
    """

    frame_size: int | None


@runtime_checkable
class HasFrameInterpolation(Protocol):
    """A model whose weights were trained with one interpolation.

    Attributes:
        frame_interpolation: ``bilinear`` or ``bicubic``; used where ``DATA.INTERPOLATION`` is ``backbone``.
    """

    frame_interpolation: str


@runtime_checkable
class HasPublishedWeights(Protocol):
    """A model that may start from published weights.

    Attributes:
        has_published_weights: whether it does; they were trained with frames of the model's own normalisation
            and interpolation.
    """

    has_published_weights: bool


@runtime_checkable
class ChecksFrameSize(Protocol):
    """A model that does not accept frames of every size."""

    def frame_size_problem(self, height: int, width: int) -> str:
        """Returns why frames of that size in pixels are not accepted, and the remedy; empty: they are."""
        ...


@runtime_checkable
class HasFrameMultiple(Protocol):
    """A model that states whether it accepts frames of any height and width, as whole pictures have them.

    Attributes:
        frame_multiple: pixels; both sides must be multiples of it. None: frames of one size only.
    """

    frame_multiple: int | None


@runtime_checkable
class HasClasses(Protocol):
    """A network with a last layer of one output per class.

    Attributes:
        num_classes: K.
    """

    num_classes: int


@runtime_checkable
class ExemptsWeightDecay(Protocol):
    """A model with parameters that must not decay."""

    def no_weight_decay(self) -> set[str]:
        """Returns names of parameters that take no weight decay whatever their shape."""
        ...


@runtime_checkable
class HasLayerDepths(Protocol):
    """A model with an order of layers, for learning rates that fall with the distance from the output."""

    def layer_id(self, name: str) -> tuple[int, int]:
        """Returns (depth of the parameter ``name`` from the input, number of depths)."""
        ...


@runtime_checkable
class HasShardUnits(Protocol):
    """A model that can be gathered unit by unit where its parameters are sharded over processes.

    A sharded model without this capability is gathered as a whole.
    """

    def shard_units(self) -> list[nn.Module]:
        """Returns submodules that the model calls one after another in training."""
        ...


@runtime_checkable
class AdaptsWeights(Protocol):
    """A model with a rule for weights whose shape differs from its own."""

    def adapt_weight(self, name: str, weight: Tensor, shape: torch.Size) -> Tensor | str:
        """Returns ``weight`` in the shape of the model's own, if that was requested.

        Otherwise returns the remedy for the error message, such as the setting that requests it; an empty
        string if the model has no rule for this weight.
        """
        ...


@runtime_checkable
class HasMemoryRemedies(Protocol):
    """A model with settings of its own that need less memory; errors of a full device name them."""

    def memory_remedies(self, *, training: bool) -> Sequence[str]:
        """Returns changes of the configuration that would help, the least harmful first."""
        ...


def memory_remedies(model: Any, *, training: bool) -> tuple[str, ...]:
    """Returns the model's own settings that need less memory; none without :class:`HasMemoryRemedies`."""
    return tuple(model.memory_remedies(training=training)) if isinstance(model, HasMemoryRemedies) else ()
