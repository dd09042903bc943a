"""A network over clips of one length as a model of the framework.

B clips, T frames, H W pixels, K classes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast.errors import InputError


class ClipNetwork(nn.Module):
    """Gives a network of another library, which maps clips to logits, the framework's contract.

    The network's parts become parts of this module, so that weights keep the library's own names and its
    published files load as they are. Positions are of no use to such networks. They know no mask either:
    clips with fewer real frames are filled up with their last one, as PySlowFast does with short videos, so
    that what padding holds has no influence.

    Args:
        network: maps what ``split`` returns to logits (B, K).
        num_frames: the only length of a clip that the network takes.
        num_classes: K.
        split: makes the network's inputs of frames (B, 3, T, H, W), for instance one tensor a pathway.
        no_decay: endings of parameter names that take no weight decay.

    Attributes:
        frame_mean, frame_std, position_rate: see ``slowfast.models.capabilities.VideoModel``.
    """

    frame_mean = (0.45, 0.45, 0.45)
    frame_std = (0.225, 0.225, 0.225)
    position_rate = None

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
        for name, part in network.named_children():
            self.add_module(name, part)
        # Parts that a network of this kind may have and this one has not.
        self.__dict__.update({name: None for name, value in vars(network).items() if value is None})
        self._network_forward: Any = type(network).forward
        self.num_frames = num_frames
        self.num_classes = num_classes
        self._split = split
        self._no_decay = tuple(no_decay)

    def forward(self, frames: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Maps normalised float frames (B, 3, T, H, W) to logits (B, K); T is at most ``num_frames``.

        Raises:
            InputError: for longer clips, and for clips without a real frame.
        """
        if frames.ndim != 5 or not 0 < frames.shape[2] <= self.num_frames:
            raise InputError(
                f"frames have shape {tuple(frames.shape)}; give (clips, 3, {self.num_frames}, height, width) "
                "or build the network for another DATA.NUM_FRAMES"
            )
        if mask is not None or frames.shape[2] < self.num_frames:
            frames = fill_up(frames, mask, self.num_frames)
        return self._network_forward(self, self._split(frames))

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that take no weight decay whatever their shape: tokens and position tables."""
        return {name for name, _ in self.named_parameters() if name.endswith(self._no_decay)}

    def layer_id(self, name: str) -> tuple[int, int]:
        """(depth of the parameter ``name`` from the input, number of depths): one depth for each block.

        What comes before the blocks counts as 0, what comes after as the last.
        """
        blocks = len(self.get_submodule("blocks")._modules)
        block = re.match(r"blocks\.(\d+)\.", name)
        if block:
            return 1 + int(block[1]), blocks + 2
        return (blocks + 1 if name.startswith(("head.", "norm_embed.")) else 0), blocks + 2


def fill_up(frames: Tensor, mask: Tensor | None, num_frames: int) -> Tensor:
    """Fills clips up to ``num_frames`` with their last real frame, which also takes the place of masked ones.

    Args:
        frames: (B, 3, T, H, W).
        mask: (B, T) bool, True where a frame is real; None: all are.

    Returns:
        (B, 3, num_frames, H, W).

    Raises:
        InputError: for a clip without a real frame.
    """
    place = torch.arange(num_frames, device=frames.device)
    real = (place < frames.shape[2])[None]  # (1, num_frames)
    if mask is not None:
        if not mask.any(dim=1).all():
            empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
            raise InputError(f"clips {empty} of the batch have no real frame; leave them out")
        real = F.pad(mask, (0, num_frames - mask.shape[1]), value=False)  # (B, num_frames)
    last = torch.where(real, place, -1).amax(dim=1, keepdim=True)
    source = torch.where(real, place, last)[:, None, :, None, None]
    return frames.gather(2, source.expand(*frames.shape[:2], num_frames, *frames.shape[3:]))


def clip_options(cfg: Any) -> dict[str, Any]:
    """The keyword arguments that all these networks have."""
    return {
        "num_classes": cfg.MODEL.NUM_CLASSES,
        "num_frames": cfg.DATA.NUM_FRAMES,
        "crop_size": cfg.DATA.TRAIN_CROP_SIZE,
        "dropout_rate": cfg.MODEL.DROPOUT_RATE,
    }


def importing_pytorchvideo() -> warnings.catch_warnings:
    """While pytorchvideo is imported: it says at length that it uses older functions of torch."""
    return warnings.catch_warnings(action="ignore")
