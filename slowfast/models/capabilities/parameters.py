"""Capabilities of models that concern their parameters: classes, decay, sharding, weights, memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:  # see the package
    import torch
    from torch import Tensor, nn


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
