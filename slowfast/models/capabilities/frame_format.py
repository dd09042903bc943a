"""Capabilities of models that are made for frames of some size or processing."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


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
