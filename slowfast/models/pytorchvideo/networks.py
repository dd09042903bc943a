"""pytorchvideo's X3D (Feichtenhofer 2020) and MViT (Fan et al. 2021) as models of the framework.

Weights that pytorchvideo publishes load unchanged. K classes.
"""

from __future__ import annotations

from typing import Any, Self

from fvcore.common.config import CfgNode

from slowfast.models.build import MODEL_REGISTRY
from slowfast.models.pytorchvideo.clip_network import ClipNetwork, clip_options, importing_pytorchvideo


@MODEL_REGISTRY.register("X3D")
@MODEL_REGISTRY.register()
class PTVX3D(ClipNetwork):
    """X3D: a small 2D network that is expanded in time, width and depth.

    Args:
        num_classes, num_frames, crop_size, dropout_rate: see ``PTVResNet``.
        options: arguments of pytorchvideo's ``create_x3d``.
    """

    def __init__(
        self,
        num_classes: int = 400,
        *,
        num_frames: int = 16,
        crop_size: int = 224,
        dropout_rate: float = 0.5,
        **options: Any,
    ) -> None:
        with importing_pytorchvideo():
            from pytorchvideo.models.x3d import create_x3d
        network = create_x3d(
            input_clip_length=num_frames,
            input_crop_size=crop_size,
            model_num_class=num_classes,
            dropout_rate=dropout_rate,
            head_activation=None,
            **options,
        )
        super().__init__(network, num_frames, num_classes)

    @classmethod
    def from_config(cls, cfg: CfgNode, *, fetch_weights: bool = True) -> Self:
        """Builds the network that the sections ``MODEL`` and ``X3D`` describe."""
        return cls(
            **clip_options(cfg),
            width_factor=cfg.X3D.WIDTH_FACTOR,
            depth_factor=cfg.X3D.DEPTH_FACTOR,
            bottleneck_factor=cfg.X3D.BOTTLENECK_FACTOR,
            stem_dim_in=cfg.X3D.DIM_C1,
            head_dim_out=cfg.X3D.DIM_C5,
        )


@MODEL_REGISTRY.register()
class PTVMViT(ClipNetwork):
    """MViT, version 1: a transformer over patches that lowers their resolution and widens with depth.

    Args:
        num_classes, num_frames, crop_size, dropout_rate: see ``PTVResNet``; frames of another size do not fit
            the position tables.
        options: arguments of pytorchvideo's ``create_multiscale_vision_transformers``.
    """

    frame_multiple = None

    def __init__(
        self,
        num_classes: int = 400,
        *,
        num_frames: int = 16,
        crop_size: int = 224,
        dropout_rate: float = 0.5,
        **options: Any,
    ) -> None:
        with importing_pytorchvideo():
            from pytorchvideo.models.vision_transformers import create_multiscale_vision_transformers
        network = create_multiscale_vision_transformers(
            spatial_size=crop_size,
            temporal_size=num_frames,
            head_num_classes=num_classes,
            head_dropout_rate=dropout_rate,
            **options,
        )
        super().__init__(
            network,
            num_frames,
            num_classes,
            no_decay=("cls_token", "pos_embed_spatial", "pos_embed_temporal", "pos_embed_class"),
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, *, fetch_weights: bool = True) -> Self:
        """Builds the network that the sections ``MODEL`` and ``MVIT`` describe."""
        return cls(
            **clip_options(cfg),
            depth=cfg.MVIT.DEPTH,
            patch_embed_dim=cfg.MVIT.EMBED_DIM,
            num_heads=cfg.MVIT.NUM_HEADS,
            mlp_ratio=cfg.MVIT.MLP_RATIO,
            droppath_rate_block=cfg.MVIT.DROPPATH_RATE,
            conv_patch_embed_kernel=tuple(cfg.MVIT.PATCH_KERNEL),
            conv_patch_embed_stride=tuple(cfg.MVIT.PATCH_STRIDE),
            conv_patch_embed_padding=tuple(cfg.MVIT.PATCH_PADDING),
            embed_dim_mul=cfg.MVIT.DIM_MUL,
            atten_head_mul=cfg.MVIT.HEAD_MUL,
            pool_q_stride_size=cfg.MVIT.POOL_Q_STRIDE,
            pool_kv_stride_adaptive=list(cfg.MVIT.POOL_KV_STRIDE_ADAPTIVE),
            pool_kvq_kernel=list(cfg.MVIT.POOL_KVQ_KERNEL),
        )
