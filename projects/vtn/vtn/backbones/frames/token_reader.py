"""The features of images by a backbone: its own pooled vector, or tokens of its feature map.

Shapes: N images, H W pixels, h w height and width of a map, M tokens, F width of a token.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from slowfast.distributed.dtensor import is_sharded
from slowfast.errors import ModelError
from vtn.arguments.backbone import BackboneConfig
from vtn.backbones.base import Backbone
from vtn.backbones.frames.trial import MapTrial, runs, try_map, unused_parameters
from vtn.backbones.maps.feature_map import MapFunction
from vtn.backbones.maps.token_grid import TokenGrid
from vtn.backbones.tuning.lora import check_adapters

_USUAL_SIZE = 224


def token_grid(config: BackboneConfig) -> TokenGrid:
    """Returns the choice of tokens that the arguments of a backbone describe."""
    rows, columns = config.tokens
    return TokenGrid(rows, columns, config.class_token, config.stage)


@dataclass(frozen=True)
class TokenReader:
    """Maps images to the tokens that a :class:`vtn.backbones.maps.token_grid.TokenGrid` chooses.

    Attributes:
        backbone: the network and its description.
        grid: the choice of tokens.
    """

    backbone: Backbone
    grid: TokenGrid
    _trials: dict[tuple[int, ...], MapTrial] = field(default_factory=dict, repr=False, compare=False)
    _accepted: dict[int, bool] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, network: nn.Module, images: Tensor) -> Tensor:
        """Maps images (N, 3, H, W) to features (N, F), or (N, M, F) for M > 1.

        A clip encoder maps clips (N, 3, t, H, W) to features (N, s, F) or (N, s, M, F) of s time steps.
        """
        if self.grid.is_pooled:
            return network(images)
        return self.grid.tokens(network, self._map, images)

    def prepare(self) -> int:
        """Returns F; freezes parameters without influence on the tokens, such as those of later stages.

        Frozen parameters need no gradient, which DistributedDataParallel does not accept to be missing.

        Raises:
            ModelError: for a backbone without the feature map, stage or class token that the grid needs, and
                for adapters none of which has an influence.
        """
        network = self.backbone.network
        if not self._takes_frames:
            return self.backbone.feature_dim
        side = self.backbone.image_size or _USUAL_SIZE
        trial = None if self.grid.is_pooled else self._try(side, side)
        if trial is not None and self.grid.class_token and not trial.has_class_token:
            raise ModelError(
                f"VTN.BACKBONE.CLASS_TOKEN = True: must be False for {type(network).__name__}, which has no "
                "class token"
            )
        if any(weight.requires_grad for weight in network.parameters()):
            # The network itself has run already where its map could not be tried otherwise.
            unused = unused_parameters(network, self, self._size(side, side), may_run=trial is not None)
            check_adapters(network, unused)
            for name in unused:
                network.get_parameter(name).requires_grad_(False)
        return self.backbone.feature_dim if trial is None else trial.feature_dim

    def map_problem(self, height: int, width: int) -> str:
        """Returns why images of that size in pixels are refused or their map is too small, or "".

        The reason has a remedy.
        """
        if not self._takes_frames:
            return ""
        if self._is_refused(height, width):
            return (
                f"images have {height}×{width} pixels, which {type(self.backbone.network).__name__} does not "
                f"accept; use crops of {self.backbone.image_size} pixels, the size of its training"
            )
        if self.grid.is_pooled:
            return ""
        # A trial takes up to a second, and whole pictures have many sizes. A map does not shrink when the
        # image grows, so that an image needs no trial if a smaller one has a large enough map.
        # Of a copy: another thread may add a trial meanwhile.
        for (*_, tried_height, tried_width), trial in [*self._trials.items()]:
            if tried_height <= height and tried_width <= width and self._fits(trial):
                return ""
        trial = self._try(height, width)
        if self._fits(trial):
            return ""
        return (
            f"VTN.BACKBONE.TOKENS = [{self.grid.rows}, {self.grid.columns}]: must be at most "
            f"[{trial.height}, {trial.width}], the feature map of {height}×{width} pixels; use larger crops, "
            "fewer tokens, or an earlier VTN.BACKBONE.STAGE"
        )

    @property
    def _takes_frames(self) -> bool:
        return getattr(self.backbone.network, "takes_frames", True)

    @property
    def _map(self) -> MapFunction:
        if self.backbone.feature_map is None:
            raise ModelError(
                f"VTN.BACKBONE.TOKENS: must be [1, 1], with CLASS_TOKEN False and STAGE 0, for "
                f"{type(self.backbone.network).__name__}, whose feature map is unknown; add a method "
                "feature_map(images) that returns (N, h, w, F)"
            )
        return self.backbone.feature_map

    def _fits(self, trial: MapTrial) -> bool:
        return trial.height >= self.grid.rows and trial.width >= self.grid.columns

    def _is_refused(self, height: int, width: int) -> bool:
        """Returns whether a network whose sizes are not known fails for a square crop.

        Whole pictures have too many sizes for a trial of each.
        """
        backbone, own = self.backbone, self.backbone.image_size
        is_known = backbone.fixed_size or backbone.size_multiple > 1 or backbone.clip is not None
        if is_known or own is None or height != width or height == own or torch.compiler.is_compiling():
            return False
        if any(is_sharded(weight) for weight in backbone.network.parameters()):
            return False  # cannot be copied; the sizes of the configuration are tried before
        if height not in self._accepted:
            # A network that does not run on the meta device at all is left to the first real images.
            network = backbone.network
            self._accepted[height] = runs(network, self, (height, width)) or not runs(
                network, self, (own, own)
            )
        return not self._accepted[height]

    def _try(self, height: int, width: int) -> MapTrial:
        size = self._size(height, width)
        if size not in self._trials:
            self._trials[size] = try_map(self.backbone.network, self._map, self.grid.stage, size)
        return self._trials[size]

    def _size(self, height: int, width: int) -> tuple[int, ...]:
        """Returns (H, W), or (t, H, W) of a clip encoder's clips."""
        clip = self.backbone.clip
        return (height, width) if clip is None else (clip.frames, height, width)
