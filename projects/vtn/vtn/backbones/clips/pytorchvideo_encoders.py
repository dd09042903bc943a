"""Networks of pytorchvideo without their heads, which map clips to features by time step and place.

Parameters have the names of pytorchvideo's published weights.

Shapes: N clips, t frames of a clip, s time steps, H W pixels, h w height and width of a map, F width of a
feature, L tokens of a transformer.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from torch import Tensor, cat, nn

from slowfast.errors import InputError
from slowfast.models.pytorchvideo.resnets import pathways
from vtn.backbones.maps.feature_map import check_stage

# Modules that compute a time step from a window of frames, and from one frame.
_WINDOWED = (nn.Conv3d, nn.MaxPool3d, nn.AvgPool3d)
_FRAMEWISE = (nn.BatchNorm3d, nn.ReLU, nn.Dropout, nn.Identity)


class ClipEncoder(nn.Module):
    """A network that maps clips (N, 3, t, H, W) to features (N, s, F) and to maps (N, s, h, w, F).

    Args:
        frames: t.

    Attributes:
        tubelet: frames per time step of the last map; set by whoever has tried the network.
        steps_are_independent: whether no time step depends on frames outside its own tubelet.
    """

    steps_are_independent = False

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.tubelet = 1

    def forward(self, clips: Tensor) -> Tensor:
        """Maps clips (N, 3, t, H, W) to features (N, s, F), the means over the places of a time step.

        Raises:
            InputError: see :meth:`feature_map`.
        """
        return self.feature_map(clips).mean(dim=(2, 3))

    def feature_map(self, clips: Tensor, stage: int = 0) -> Tensor:
        """Returns the map (N, s, h, w, F) of clips (N, 3, t, H, W).

        Args:
            stage: 0: the last map; n: the map after the n-th stage or block, counted from 1. If it has more
                time steps than the last map, groups of them are averaged.

        Raises:
            InputError: for clips of another length. Shorter ones are accepted if time steps are independent.
            ModelError: for a stage that the network does not have.
        """
        T = clips.shape[2] if clips.ndim == 5 else 0
        accepted = range(self.tubelet, self.frames, self.tubelet) if self.steps_are_independent else ()
        if self.frames != T and T not in accepted:
            raise InputError(
                f"clips = {tuple(clips.shape)}: must have the shape (clips, 3, {self.frames}, height, width)"
                "; repeat the last frame of a shorter clip"
            )
        return average_steps(self.stage_map(clips, stage), T // self.tubelet).permute(0, 2, 3, 4, 1)

    @abstractmethod
    def stage_map(self, clips: Tensor, stage: int) -> Tensor:
        """Returns the map after a stage or block in its own number of time steps, (N, F, s', h, w).

        Later ones are not computed. Stage 0 is the map before the head's pooling.
        """


class ConvolutionalEncoder(ClipEncoder):
    """The stem and the stages of C2D, I3D, Slow, CSN, R(2+1)D or X3D.

    Args:
        blocks: the network's blocks without the head, from :func:`drop_head`.
        frames: t.
    """

    def __init__(self, blocks: nn.ModuleList, frames: int) -> None:
        super().__init__(frames)
        self.blocks = blocks
        # Other blocks are the stem, I3D's pooling after the first stage, and X3D's last convolution.
        self._stages = [i for i, block in enumerate(blocks) if hasattr(block, "res_blocks")]
        leaves = [module for module in blocks.modules() if next(module.children(), None) is None]
        self.steps_are_independent = all(_keeps_steps_apart(leaf) for leaf in leaves)

    def stage_map(self, clips: Tensor, stage: int) -> Tensor:
        """Returns the map after one of the four stages, or after the last block."""
        check_stage(stage, len(self._stages))
        x = clips
        for block in self.blocks[: self._stages[stage - 1] + 1 if stage else None]:
            x = block(x)
        return x


class SlowFastEncoder(ClipEncoder):
    """Both pathways of SlowFast (Feichtenhofer et al. 2019, section 3), side by side in the channels.

    The time steps are those of the slow pathway; the fast pathway's map is averaged to them.

    Args:
        blocks: the stem and the stages, each a pair of pathways and a connection.
        frames: t, frames of the fast pathway.

    Attributes:
        alpha: the slow pathway gets t / alpha frames.
    """

    def __init__(self, blocks: nn.ModuleList, frames: int) -> None:
        super().__init__(frames)
        self.blocks = blocks
        self.alpha = int(blocks[0].multipathway_fusion.conv_fast_to_slow.stride[0])  # type: ignore[union-attr]

    def stage_map(self, clips: Tensor, stage: int) -> Tensor:
        """Returns the map after one of the four stages, (N, F, t / alpha, h, w)."""
        check_stage(stage, len(self.blocks) - 1)
        stage = stage or len(self.blocks) - 1
        x = pathways(clips, self.alpha)
        for block in self.blocks[: stage + 1]:
            x = block(x)
        slow, fast = x
        # Behind the slow pathway's own channels are those that the connection adds for the next stage.
        last = self.blocks[stage].multipathway_blocks[0].res_blocks[-1]
        slow = slow[:, : last.branch2.conv_c.out_channels]
        return cat([slow, average_steps(fast, slow.shape[2])], dim=1)

    def parameter_depths(self) -> Mapping[str, int]:
        """Returns the depth of each parameter by name: the block it is in, counted from 1 in both pathways.

        The stem has depth 0; a connection has the depth of the last block of its stage.
        """
        counts = [len(block.multipathway_blocks[0].res_blocks) for block in self.blocks[1:]]
        ends = [0, *accumulate(counts)]
        depths = {}
        for name, _ in self.named_parameters():
            block = re.match(r"blocks\.(\d+)\.(?:multipathway_blocks\.\d+\.res_blocks\.(\d+)\.)?", name)
            stage, index = int(block[1]), block[2]  # type: ignore[index]
            depths[name] = ends[stage] if index is None else ends[stage - 1] + int(index) + 1
        return depths


class MViTEncoder(ClipEncoder):
    """MViT, version 1 (Fan et al. 2021), whose features are its tokens after the final norm.

    The class token takes part in attention, but not in the features.

    Args:
        network: pytorchvideo's network, built without a head.
        frames: t.
    """

    def __init__(self, network: Any, frames: int) -> None:
        super().__init__(frames)
        self.patch_embed = network.patch_embed
        self.cls_positional_encoding = network.cls_positional_encoding
        self.pos_drop = network.pos_drop
        self.norm_patch_embed = network.norm_patch_embed
        self.blocks = network.blocks
        self.norm_embed = network.norm_embed

    def stage_map(self, clips: Tensor, stage: int) -> Tensor:
        """Returns the tokens after a block, with the final norm where they have the width of the last one."""
        check_stage(stage, len(self.blocks))
        tokens = self.cls_positional_encoding(self.patch_embed(clips))
        for module in (self.pos_drop, self.norm_patch_embed):
            tokens = tokens if module is None else module(tokens)
        shape = self.cls_positional_encoding.patch_embed_shape
        for block in self.blocks[: stage or None]:
            tokens, shape = block(tokens, shape)
        if tokens.shape[-1] == self.norm_embed.normalized_shape[-1]:
            tokens = self.norm_embed(tokens)
        prefix = int(self.cls_positional_encoding.cls_embed_on)
        return tokens[:, prefix:].unflatten(1, tuple(shape)).permute(0, 4, 1, 2, 3)

    def no_weight_decay(self) -> set[str]:
        """Returns the names of the class token and the position tables."""
        return {
            f"cls_positional_encoding.{name}" for name, _ in self.cls_positional_encoding.named_parameters()
        }


def drop_head(blocks: nn.ModuleList) -> tuple[nn.ModuleList, tuple[str, ...]]:
    """Returns the blocks of a convolutional network up to its head's pooling, with their names.

    The head of X3D begins with a convolution before the pooling, which is kept.

    Returns:
        (blocks, names of the head's layers in the weights of the whole network).
    """
    head = len(blocks) - 1
    pool = blocks[head].pool
    if hasattr(pool, "pre_conv"):
        parts = [(name, getattr(pool, name)) for name in ("pre_conv", "pre_norm", "pre_act")]
        kept = nn.Sequential(OrderedDict((name, part) for name, part in parts if part is not None))
        layers = (f"blocks.{head}.pool.post_conv", f"blocks.{head}.pool.post_norm", f"blocks.{head}.proj")
        return nn.ModuleList([*blocks[:head], nn.Sequential(OrderedDict(pool=kept))]), layers
    # SlowFast has the pooling of both pathways in a block before the head.
    body = [block for block in blocks[:head] if type(block).__name__ != "PoolConcatPathway"]
    return nn.ModuleList(body), (f"blocks.{head}",)


def average_steps(found: Tensor, steps: int) -> Tensor:
    """Averages groups of s' / ``steps`` time steps of a map: (N, F, s', h, w) -> (N, F, steps, h, w)."""
    if found.shape[2] == steps:
        return found
    return found.unflatten(2, (steps, -1)).mean(dim=3)


def _keeps_steps_apart(module: nn.Module) -> bool:
    """Returns whether a module without children computes each time step from frames that no other step uses.

    Convolutions and poolings do if their temporal windows do not overlap; unknown modules may not.
    """

    def in_time(name: str) -> Any:
        value = getattr(module, name, 1)
        return value[0] if isinstance(value, list | tuple) else value

    if isinstance(module, _WINDOWED):
        return (
            in_time("kernel_size") == in_time("stride")
            and in_time("padding") == 0
            and in_time("dilation") == 1
        )
    return isinstance(module, _FRAMEWISE)
