"""VideoPrism's vision encoder (Zhao et al. 2024, arXiv 2402.13217): blocks over space, then blocks over time.

Shapes: N clips, t frames, p patches per frame, F width of a feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from vtn.backbones.base import ClipDescription
from vtn.backbones.clips.families.clip_transformer import ClipTransformer, Grid

SECONDS = 10.0
"""Duration of a clip, an assumption: no frame rate is published. The demonstrations of the authors spread the
frames of a clip over a whole video, and the videos of Kinetics, on which they evaluate, last 10 s."""


class VideoPrismClips(ClipTransformer):
    """The factorized encoder of VideoPrism.

    Blocks are counted through both parts: the spatial ones, for each frame, then the temporal ones, for each
    place. The final norm of a spatial stage is that of the spatial part.

    Args:
        model: ``VideoPrismVisionModel``.
        config: its configuration.
        resize_positions: see :class:`ClipTransformer`.
    """

    def __init__(self, model: Any, config: Any, *, resize_positions: bool = False) -> None:
        tubelet, patch, _ = config.tubelet_size
        clip = ClipDescription(config.num_frames, tubelet, fps=config.num_frames / SECONDS)
        super().__init__(model, clip, config.image_size, patch, resize_positions)
        # The order of the modules gives the depth of their parameters, see tuning.blocks.
        for name in ("layernorm1", "temporal_embeddings", "temporal_layers", "layernorm2"):
            model._modules[name] = model._modules.pop(name)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The spatial blocks, then the temporal blocks."""
        return [*self.model.spatial_layers, *self.model.temporal_layers]  # type: ignore[misc, union-attr]

    def encode(self, clips: Tensor, grid: Grid, stage: int) -> Tensor:
        """Maps clips (N, 3, t, H, W) to features (N, t, h, w, F) after block ``stage``; 0: the last block."""
        model: Any = self.model
        tokens = self.embed(clips, grid)
        for block in model.spatial_layers[: stage or None]:
            tokens = block(tokens)
        tokens = model.layernorm1(tokens).unflatten(0, (-1, grid.steps))  # (N, t, p, F)
        temporal = stage - len(model.spatial_layers)
        if stage == 0 or temporal > 0:
            tokens = tokens.transpose(1, 2).flatten(0, 1)  # (N·p, t, F)
            embeddings = model.temporal_embeddings
            tokens = embeddings.dropout(tokens + embeddings.position_embeddings[:, : grid.steps])
            for block in model.temporal_layers[: temporal if stage else None]:
                tokens = block(tokens)
            tokens = model.layernorm2(tokens).unflatten(0, (-1, grid.places)).transpose(1, 2)
        return tokens.unflatten(2, grid[1:])

    def embed(self, clips: Tensor, grid: Grid) -> Tensor:
        """Maps clips (N, 3, t, H, W) to tokens (N·t, p, F) with their positions in space."""
        embeddings: Any = self.model.spatial_embeddings
        tokens = embeddings.patch_embeddings.projection(clips)  # (N, F, t, h, w)
        tokens = tokens.flatten(3).permute(0, 2, 3, 1).flatten(0, 1)
        in_frame = self.trained_grid._replace(steps=1), grid._replace(steps=1)
        return embeddings.dropout(tokens + self.cut_positions(embeddings.position_embeddings, *in_frame))
