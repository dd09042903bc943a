"""A copy of a backbone for the fast computation of features without gradients.

N images, H W pixels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from slowfast.distributed.device import is_cpu
from slowfast.errors import ModelError, first_line
from slowfast.models.capabilities import EncodingSetup
from slowfast.models.inference.folding import fold_batch_norms
from slowfast.models.inference.processor import images_per_pass
from slowfast.models.kernels.packed_linear import pack_linears
from slowfast.models.precision import DTYPES
from vtn.backbones.frames.trial import ReadFeatures

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# Convolutions that overlap; fewer of them belong to the patch embedding of a transformer.
_FEW = 4


class LoadNote:
    """A hook that notes that a network is about to load weights, after which prepared copies are stale.

    An object of its own, which knows neither the network nor its model: the network alone can be copied.
    """

    def __init__(self) -> None:
        self._loaded = False

    def __call__(self, *_: object) -> None:
        self._loaded = True

    def take(self) -> bool:
        """Returns whether weights were loaded since the last call."""
        if not self._loaded:  # a graph that is exported must not change attributes
            return False
        self._loaded = False
        return True


class EncodingNetwork:
    """A backbone prepared as an :class:`slowfast.models.capabilities.EncodingSetup` says.

    A plain object instead of a module, so that its weights, which are copies, are not part of the state dict.

    Args:
        network: the backbone in evaluation mode.
        read: computes the features.
        setup: precision, folding, compilation.
        sample: images (N, 3, H, W), or clips, of the size that is encoded.

    Attributes:
        num_folded: number of batch norms that were folded.

    Raises:
        ModelError: for a backbone that torch cannot copy.
    """

    def __init__(self, network: nn.Module, read: ReadFeatures, setup: EncodingSetup, sample: Tensor) -> None:
        self.setup = setup
        self.dtype = DTYPES[setup.precision]
        self._read = read
        self._kind = kind_of(network)
        self._network = _copy(network).eval().requires_grad_(False)
        if self._kind == "convolutional" and sample.ndim == 4:
            self._network.to(memory_format=torch.channels_last)
        self.num_folded = 0
        if setup.fold:
            self.num_folded = fold_batch_norms(self._network, lambda: read(self._network, sample[:2]))
        if self.dtype is not None:
            _cast_products(self._network, self.dtype, setup.exact_layers)
            if not setup.compile:  # the compiler arranges the weights itself
                pack_linears(self._network, self.dtype)
        self._most_images = 0
        self._compiled = self._compile()

    def __getstate__(self) -> dict[str, Any]:
        """Returns the state of a copied or pickled object, without the compiled function, which is bound."""
        return {**self.__dict__, "_compiled": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._compiled = self._compile()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, H, W), or clips, to features in float32."""
        if self._compiled is None:
            return self._compute(images)
        # Another number of images would be compiled again: all passes get the same one.
        pixels = images.shape[2:].numel()  # of all frames of a clip
        bits = 32 if self.dtype is None else 16
        count = images_per_pass(self._kind, pixels, images.device, bits=bits)
        if not is_cpu(images.device):  # takes more than callers have, which would be filled up in vain
            count = self._most_images = min(count, max(self._most_images, len(images)))
        parts = []
        for part in images.split(count):
            missing = count - len(part)
            filled = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) if missing else part
            parts.append(self._compiled(filled.contiguous())[: len(part)])
        return torch.cat(parts)

    def _compile(self) -> Callable[[Tensor], Tensor] | None:
        return torch.compile(self._compute, dynamic=False) if self.setup.compile else None

    def _compute(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype is not None):
            return self._read(self._network, images).float()


def _copy(network: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(network)
    except RuntimeError as error:
        raise ModelError(
            f"the backbone cannot be copied for a faster computation of features: {first_line(error)}; "
            "remove weight norms by torch.nn.utils.remove_weight_norm"
        ) from error


def kind_of(network: nn.Module) -> str:
    """Returns ``convolutional`` or ``transformer``, by the number of convolutions that overlap."""
    overlapping = sum(
        isinstance(module, _CONVOLUTIONS)
        and any(k > s for k, s in zip(module.kernel_size, module.stride, strict=True))
        for module in network.modules()
    )
    return "convolutional" if overlapping >= _FEW else "transformer"


def _cast_products(network: nn.Module, dtype: torch.dtype, exact: float) -> None:
    """Casts the weights of linear layers and convolutions, which autocast would cast in each pass.

    Args:
        exact: fraction of these layers, from the first on, that autocast must leave in float32.
    """
    layers = [module for module in network.modules() if isinstance(module, (nn.Linear, *_CONVOLUTIONS))]
    first = int(exact * len(layers))
    for module in layers[:first]:
        # The copy of the network belongs to this object: its modules may be changed.
        module.forward = partial(_forward_in_float32, module.forward)  # type: ignore[method-assign]
    for module in layers[first:]:
        for name, weight in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(weight.to(dtype), requires_grad=False))


def _forward_in_float32(forward: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    with torch.autocast(inputs.device.type, enabled=False):
        return forward(inputs.float())
