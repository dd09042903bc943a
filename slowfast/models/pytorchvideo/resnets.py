"""pytorchvideo's ResNets over clips as models of the framework, under their names in PySlowFast.

SlowFast and Slow (Feichtenhofer et al. 2019), I3D (Carreira and Zisserman 2017, as a ResNet) and C2D, each
with optional non-local blocks (Wang et al. 2018). Weights that pytorchvideo publishes load unchanged.

B clips, T frames, H W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast.models.build import MODEL_REGISTRY
from slowfast.models.pytorchvideo.clip_network import ClipNetwork, clip_options, importing_pytorchvideo

Kernel = tuple[int, int, int]

# Frames of the stem's kernel, and frames of the kernels of each stage, which its blocks use in turn.
TEMPORAL_KERNELS: dict[str, tuple[int, tuple[tuple[int, ...], ...]]] = {
    "c2d": (1, ((1,), (1,), (1,), (1,))),
    "i3d": (5, ((3,), (3, 1), (3, 1), (1, 3))),
    "slow": (1, ((1,), (1,), (3,), (3,))),
    "fast": (5, ((3,), (3,), (3,), (3,))),
}
STAGE_DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
# Pixels per side of one cell of the last stage's feature map.
RESNET_STRIDE = 32


def stage_kernels(basis: Sequence[int], depth: int, temporal: int) -> list[Kernel]:
    """Returns the kernels (frames, height, width) of a stage's blocks.

    Args:
        basis: frames of the temporal kernels, which the first ``temporal`` blocks use in turn.
        depth: number of blocks.
        temporal: number of blocks with a temporal kernel; the kernels of the others have one frame.
    """
    frames = [basis[i % len(basis)] if i < temporal else 1 for i in range(depth)]
    return [(size, 1, 1) for size in frames]


@MODEL_REGISTRY.register("ResNet")
@MODEL_REGISTRY.register()
class PTVResNet(ClipNetwork):
    """A ResNet over clips.

    Args:
        arch: ``c2d`` (only pooling combines frames), ``i3d`` or ``slow``.
        num_classes: K.
        num_frames, crop_size: frames and pixels per side of the training clips; larger frames give several
            scores, which are averaged.
        depth: 50, 101 or 152 layers.
        width: channels of the first stage's bottleneck.
        temporal_blocks: number of blocks with a temporal kernel per stage; None: all.
        nonlocal_after: per stage, indices of the blocks that a non-local block follows.
        nonlocal_pool: per stage, kernel (frames, height, width) of the pooling in the non-local blocks.
        nonlocal_kind: ``softmax`` or ``dot_product``.
        dropout_rate: dropout before the last layer.
    """

    def __init__(
        self,
        arch: str = "slow",
        num_classes: int = 400,
        *,
        num_frames: int = 8,
        crop_size: int = 224,
        depth: int = 50,
        width: int = 64,
        temporal_blocks: Sequence[int] | None = None,
        nonlocal_after: Sequence[Sequence[int]] = ((), (), (), ()),
        nonlocal_pool: Sequence[Kernel] = ((1, 2, 2),) * 4,
        nonlocal_kind: str = "dot_product",
        dropout_rate: float = 0.5,
    ) -> None:
        with importing_pytorchvideo():
            from pytorchvideo.models.resnet import create_resnet
        stem, bases = TEMPORAL_KERNELS[arch]
        halves_frames = arch != "slow"
        cells = crop_size // RESNET_STRIDE
        network = create_resnet(
            model_depth=depth,
            model_num_class=num_classes,
            dropout_rate=dropout_rate,
            stem_dim_out=width,
            stem_conv_kernel_size=(stem, 7, 7),
            stage1_pool=nn.MaxPool3d if halves_frames else None,
            stage_conv_a_kernel_size=_all_kernels(bases, depth, temporal_blocks),
            head_pool_kernel_size=(num_frames // (2 if halves_frames else 1), cells, cells),
        )
        stages = [block for block in network.blocks if hasattr(block, "res_blocks")]
        add_nonlocal_blocks(stages, nonlocal_after, nonlocal_pool, nonlocal_kind)
        super().__init__(network, num_frames, num_classes)

    @classmethod
    def from_config(cls, cfg: CfgNode, *, fetch_weights: bool = True) -> Self:
        """Builds the network that the sections ``MODEL``, ``RESNET`` and ``NONLOCAL`` describe."""
        return cls(
            cfg.MODEL.ARCH,
            **_resnet_options(cfg),
            temporal_blocks=_of_pathway(cfg.RESNET.NUM_BLOCK_TEMP_KERNEL, 0),
        )


@MODEL_REGISTRY.register("SlowFast")
@MODEL_REGISTRY.register()
class PTVSlowFast(ClipNetwork):
    """A network with a slow pathway over few frames and a narrow fast pathway over all frames.

    Args:
        num_classes, crop_size, depth, width, nonlocal_kind, dropout_rate: see :class:`PTVResNet`.
        num_frames: frames of the fast pathway.
        alpha: the slow pathway gets one frame in ``alpha``.
        beta_inv: width of the slow pathway divided by the width of the fast pathway.
        fusion_ratio: output channels / input channels of the connections from the fast to the slow pathway.
        fusion_kernel: frames of the kernels of these connections.
        temporal_blocks: as in :class:`PTVResNet`, for (slow, fast).
        nonlocal_after, nonlocal_pool: as in :class:`PTVResNet`, for the slow pathway.
    """

    def __init__(
        self,
        num_classes: int = 400,
        *,
        num_frames: int = 32,
        crop_size: int = 224,
        depth: int = 50,
        width: int = 64,
        alpha: int = 4,
        beta_inv: int = 8,
        fusion_ratio: int = 2,
        fusion_kernel: int = 7,
        temporal_blocks: tuple[Sequence[int] | None, Sequence[int] | None] = (None, None),
        nonlocal_after: Sequence[Sequence[int]] = ((), (), (), ()),
        nonlocal_pool: Sequence[Kernel] = ((1, 2, 2),) * 4,
        nonlocal_kind: str = "dot_product",
        dropout_rate: float = 0.5,
    ) -> None:
        with importing_pytorchvideo():
            from pytorchvideo.models.slowfast import create_slowfast
        kernels = [TEMPORAL_KERNELS[name] for name in ("slow", "fast")]
        cells = crop_size // RESNET_STRIDE
        network = create_slowfast(
            slowfast_channel_reduction_ratio=(beta_inv,),
            slowfast_conv_channel_fusion_ratio=fusion_ratio,
            slowfast_fusion_conv_kernel_size=(fusion_kernel, 1, 1),
            slowfast_fusion_conv_stride=(alpha, 1, 1),
            model_depth=depth,
            model_num_class=num_classes,
            dropout_rate=dropout_rate,
            stem_dim_outs=(width, width // beta_inv),
            stem_conv_kernel_sizes=tuple((stem, 7, 7) for stem, _ in kernels),
            stage_conv_a_kernel_sizes=tuple(
                _all_kernels(bases, depth, temporal)
                for (_, bases), temporal in zip(kernels, temporal_blocks, strict=True)
            ),
            head_pool_kernel_sizes=((num_frames // alpha, cells, cells), (num_frames, cells, cells)),
        )
        stages = [block.multipathway_blocks[0] for block in list(network.blocks)[1:5]]
        add_nonlocal_blocks(stages, nonlocal_after, nonlocal_pool, nonlocal_kind)
        super().__init__(network, num_frames, num_classes, split=lambda frames: pathways(frames, alpha))

    @classmethod
    def from_config(cls, cfg: CfgNode, *, fetch_weights: bool = True) -> Self:
        """Builds the network that ``MODEL``, ``RESNET``, ``SLOWFAST`` and ``NONLOCAL`` describe."""
        temporal = cfg.RESNET.NUM_BLOCK_TEMP_KERNEL
        return cls(
            **_resnet_options(cfg),
            alpha=cfg.SLOWFAST.ALPHA,
            beta_inv=cfg.SLOWFAST.BETA_INV,
            fusion_ratio=cfg.SLOWFAST.FUSION_CONV_CHANNEL_RATIO,
            fusion_kernel=cfg.SLOWFAST.FUSION_KERNEL_SZ,
            temporal_blocks=(_of_pathway(temporal, 0), _of_pathway(temporal, 1)),
        )


def pathways(frames: Tensor, alpha: int) -> list[Tensor]:
    """Splits frames into the inputs of both pathways.

    Args:
        frames: (B, 3, T, H, W).
        alpha: the slow pathway gets T / ``alpha`` evenly spaced frames.

    Returns:
        [slow (B, 3, T / alpha, H, W), fast (B, 3, T, H, W)].
    """
    T = frames.shape[2]
    # As in PySlowFast: the first and the last frame, and evenly spaced frames between them.
    index = torch.linspace(0, T - 1, T // alpha, device=frames.device).long()
    return [frames.index_select(2, index), frames]


def add_nonlocal_blocks(
    stages: Sequence[Any], after: Sequence[Sequence[int]], pool: Sequence[Sequence[int]], kind: str
) -> None:
    """Inserts non-local blocks (Wang et al. 2018) into stages, in place; they are identities before training.

    Args:
        after: per stage, indices of the blocks that a non-local block follows.
        pool: per stage, kernel (frames, height, width) of the pooling before keys and values.
        kind: ``softmax`` or ``dot_product``.
    """
    with importing_pytorchvideo():
        from pytorchvideo.layers.nonlocal_net import create_nonlocal
    for stage, indices, size in zip(stages, after, pool, strict=True):
        for index in sorted(indices, reverse=True):
            width = stage.res_blocks[index].branch2.conv_c.out_channels
            added = create_nonlocal(
                dim_in=width, dim_inner=width // 2, pool_size=tuple(size), instantiation=kind
            )
            nn.init.zeros_(added.norm.weight)
            stage.res_blocks.insert(index + 1, added)


def _resnet_options(cfg: CfgNode) -> dict[str, Any]:
    """Returns the keyword arguments that all residual networks have."""
    return {
        **clip_options(cfg),
        "depth": cfg.RESNET.DEPTH,
        "width": cfg.RESNET.WIDTH_PER_GROUP,
        "nonlocal_after": _of_pathway(cfg.NONLOCAL.LOCATION, 0),
        "nonlocal_pool": _of_pathway(cfg.NONLOCAL.POOL, 0),
        "nonlocal_kind": cfg.NONLOCAL.INSTANTIATION,
    }


def _all_kernels(
    bases: Sequence[Sequence[int]], depth: int, temporal_blocks: Sequence[int] | None
) -> tuple[list[Kernel], ...]:
    """Returns the kernels of the blocks of all stages, see :func:`stage_kernels`."""
    depths = STAGE_DEPTHS[depth]
    counts = depths if temporal_blocks is None else temporal_blocks
    return tuple(stage_kernels(*stage) for stage in zip(bases, depths, counts, strict=True))


def _of_pathway(by_stage: Sequence[Sequence[Any]], pathway: int) -> list[Any]:
    """Returns the value of each stage for one pathway; a single value applies to all pathways."""
    return [values[min(pathway, len(values) - 1)] for values in by_stage]
