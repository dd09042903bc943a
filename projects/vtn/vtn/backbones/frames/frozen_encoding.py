"""The features of a frozen backbone in training, by a prepared copy where that is faster.

N images, H W pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slowfast.distributed.dtensor import is_sharded
from slowfast.models.capabilities import EncodingSetup
from vtn.backbones.frames.encoding_network import EncodingNetwork, ReadFeatures

_PRECISIONS = {None: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}


class FrozenEncoding:
    """Copies of a frozen network with folded batch norms and weights in 16 bits, made when they are needed.

    A copy is replaced when weights of the network change.

    Args:
        network: in evaluation mode, without parameters that are trained.
        read: computes the features.
    """

    def __init__(self, network: nn.Module, read: ReadFeatures) -> None:
        self._network, self._read = network, read
        self._has_norms = any(isinstance(module, _BatchNorm) for module in network.modules())
        self._copies: dict[torch.dtype | None, EncodingNetwork] = {}
        self._versions: tuple[int, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        """Returns the state without the copies: a copied or unpickled model makes its own."""
        return {**self.__dict__, "_copies": {}, "_versions": ()}

    def find(self, images: Tensor, dtype: torch.dtype | None) -> EncodingNetwork | None:
        """Returns the copy that computes in ``dtype``; None where the network itself is as fast.

        Args:
            images: (N, 3, H, W), or clips, that it will encode.
            dtype: of matrix products; None: float32.
        """
        tensors = [*self._network.parameters(), *self._network.buffers()]
        helps = self._has_norms or dtype is not None
        if not helps or images.is_meta or torch.compiler.is_compiling() or any(map(is_sharded, tensors)):
            return None
        versions = tuple(tensor._version for tensor in tensors)
        if versions != self._versions:
            self._copies, self._versions = {}, versions
        if dtype not in self._copies:
            setup = EncodingSetup(precision=_PRECISIONS[dtype], fold=True)
            self._copies[dtype] = EncodingNetwork(self._network, self._read, setup, images)
        return self._copies[dtype]
