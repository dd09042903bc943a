"""An adapter of networks that take clips of one length to the framework's model contract.

B clips, T frames, H W pixels, K classes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast.errors import InputError
from slowfast.models.adapter import fill_up


class ClipNetwork(nn.Module):
    """A model of the framework around a network of another library that maps clips to logits.

    The network's submodules become submodules of this module, so that weights keep the library's own names
    and its published files load unchanged. Positions are ignored. Since such networks have no mask, masked
    frames are replaced by the last real frame of their clip, as PySlowFast does with short videos; the
    content of padding has no influence.

    Args:
        network: maps the result of ``split`` to logits (B, K).
        num_frames: the only length of a clip that the network takes.
        num_classes: K.
        split: maps frames (B, 3, T, H, W) to the network's inputs, for instance one tensor per pathway.
        no_decay: last parts of the names of parameters without weight decay.

    Attributes:
        frame_mean, frame_std, position_rate: see ``slowfast.models.capabilities.VideoModel``.
        frame_multiple: see ``slowfast.models.capabilities.HasFrameMultiple``.
    """

    frame_mean = (0.45, 0.45, 0.45)
    frame_std = (0.225, 0.225, 0.225)
    position_rate = None
    frame_multiple: int | None = 1

    def __init__(
        self,
        network: nn.Module,
        num_frames: int,
        num_classes: int,
        *,
        split: Callable[[Tensor], Tensor | list[Tensor]] = lambda frames: frames,
        no_decay: Sequence[str] = (),
    ) -> None:
        super().__init__()
        for name, child in network.named_children():
            self.add_module(name, child)
        # Optional submodules that this network does not have; its forward method tests them for None.
        self.__dict__.update({name: None for name, value in vars(network).items() if value is None})
        self._network_forward: Any = type(network).forward
        self.num_frames = num_frames
        self.num_classes = num_classes
        self._split = split
        self._no_decay = tuple(no_decay)

    def forward(self, frames: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Maps normalised float frames (B, 3, T, H, W) to logits (B, K); T is at most ``num_frames``.

        Args:
            positions: (B, T) int64, ignored.
            mask: (B, T) bool, True where a frame is real; None: all frames are.

        Raises:
            InputError: for longer clips, and for clips without a real frame.
        """
        if frames.ndim != 5 or not 0 < frames.shape[2] <= self.num_frames:
            raise InputError(
                f"frames = {tuple(frames.shape)}: must have the shape (clips, 3, {self.num_frames}, height, "
                "width); give such clips, or build the network for another DATA.NUM_FRAMES"
            )
        if mask is not None or frames.shape[2] < self.num_frames:
            frames = fill_up(frames, mask, self.num_frames)
        return self._network_forward(self, self._split(frames))

    def no_weight_decay(self) -> set[str]:
        """Returns the names of parameters that have no weight decay: tokens and position tables."""
        return {name for name, _ in self.named_parameters() if name.endswith(self._no_decay)}

    def layer_id(self, name: str) -> tuple[int, int]:
        """Returns (depth of the parameter ``name`` from the input, number of depths).

        Each block is one depth; parameters before the blocks have depth 0, those after them the last depth.
        """
        blocks = len(self.get_submodule("blocks")._modules)
        block = re.match(r"blocks\.(\d+)\.", name)
        if block:
            return 1 + int(block[1]), blocks + 2
        return (blocks + 1 if name.startswith(("head.", "norm_embed.")) else 0), blocks + 2


def clip_options(cfg: CfgNode) -> dict[str, Any]:
    """Returns the keyword arguments that all these networks have."""
    return {
        "num_classes": cfg.MODEL.NUM_CLASSES,
        "num_frames": cfg.DATA.NUM_FRAMES,
        "crop_size": cfg.DATA.TRAIN_CROP_SIZE,
        "dropout_rate": cfg.MODEL.DROPOUT_RATE,
    }


def importing_pytorchvideo() -> warnings.catch_warnings:
    """Returns a context manager that hides the warnings of pytorchvideo about outdated functions of torch."""
    return warnings.catch_warnings(action="ignore")
