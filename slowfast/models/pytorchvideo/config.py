"""The config keys of pytorchvideo's networks (SlowFast, Slow, C2D, I3D, X3D, MViT) and their checks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from slowfast.registry import Project

if TYPE_CHECKING:  # keeps `--help` fast
    from fvcore.common.config import CfgNode

RESNET_ARCHS = ("c2d", "i3d", "slow")
RESNET_DEPTHS = (50, 101, 152)
RESNETS = ("PTVResNet", "ResNet", "PTVSlowFast", "SlowFast")
"""Models that use the sections RESNET and NONLOCAL. Each network has its name in PySlowFast's adapter of
pytorchvideo, and the name of PySlowFast's own implementation where both are the same network."""
SLOWFASTS = ("PTVSlowFast", "SlowFast")
MVITS = ("PTVMViT",)
LEAST_CROP = 32
CLIP_NETWORKS = (*RESNETS, "PTVX3D", "X3D", *MVITS)

OBSOLETE = (
    *(
        f"RESNET.{name}"
        for name in (
            "INPLACE_RELU", "NUM_GROUPS", "SPATIAL_DILATIONS", "SPATIAL_STRIDES", "STRIDE_1X1", "TRANS_FUNC",
            "ZERO_INIT_FINAL_BN", "ZERO_INIT_FINAL_CONV",
        )
    ),
    "NONLOCAL.GROUP",
    *(f"X3D.{name}" for name in ("BN_LIN5", "CHANNELWISE_3x3x3", "SCALE_RES2")),
    *(
        f"MVIT.{name}"
        for name in (
            "CLS_EMBED_ON", "DIM_MUL_IN_ATT", "DROPOUT_RATE", "HEAD_INIT_SCALE", "LAYER_SCALE_INIT_VALUE",
            "MODE", "NORM", "NORM_STEM", "PATCH_2D", "POOL_FIRST", "POOL_KV_STRIDE", "QKV_BIAS",
            "REL_POS_SPATIAL", "REL_POS_TEMPORAL", "REL_POS_ZERO_INIT", "RESIDUAL_POOLING", "REV",
            "SEPARATE_QKV", "SEP_POS_EMBED", "USE_ABS_POS", "USE_FIXED_SINCOS_POS", "USE_MEAN_POOLING",
            "ZERO_DECAY_POS_CLS",
        )
    ),
)  # fmt: skip
"""Keys of PySlowFast for variants that pytorchvideo's networks do not have."""


def add_network_config(cfg: CfgNode) -> None:
    """Adds the sections of pytorchvideo's networks to a configuration, in place."""
    from fvcore.common.config import CfgNode

    cfg.RESNET = CfgNode()
    # 50, 101, 152.
    cfg.RESNET.DEPTH = 50
    # Channels of the first stage's bottleneck; each stage doubles them.
    cfg.RESNET.WIDTH_PER_GROUP = 64
    # By stage, then pathway: number of blocks with the stage's temporal kernel; others look at one frame.
    cfg.RESNET.NUM_BLOCK_TEMP_KERNEL = [[3], [4], [6], [3]]

    cfg.NONLOCAL = CfgNode()
    # By stage, then pathway: indices of the blocks that a non-local block follows.
    cfg.NONLOCAL.LOCATION = [[[]], [[]], [[]], [[]]]
    # softmax, dot_product
    cfg.NONLOCAL.INSTANTIATION = "dot_product"
    # By stage, then pathway: kernel (frames, height, width) of the max pooling before keys and values.
    cfg.NONLOCAL.POOL = [[[1, 2, 2], [1, 2, 2]]] * 4

    cfg.SLOWFAST = CfgNode()
    # The fast pathway gets all frames, the slow pathway one in ALPHA.
    cfg.SLOWFAST.ALPHA = 8
    # Channels of the slow pathway divided by those of the fast pathway.
    cfg.SLOWFAST.BETA_INV = 8
    # Connections from the fast to the slow pathway: output channels / input channels, and frames per kernel.
    cfg.SLOWFAST.FUSION_CONV_CHANNEL_RATIO = 2
    cfg.SLOWFAST.FUSION_KERNEL_SZ = 5

    cfg.X3D = CfgNode()
    # Factors of the channels, the number of blocks, and the inner channels of a block.
    cfg.X3D.WIDTH_FACTOR = 1.0
    cfg.X3D.DEPTH_FACTOR = 1.0
    cfg.X3D.BOTTLENECK_FACTOR = 1.0
    # Channels of the stem before WIDTH_FACTOR is applied, and channels of the head.
    cfg.X3D.DIM_C1 = 12
    cfg.X3D.DIM_C5 = 2048

    # MViT, version 1; the values that PySlowFast leaves empty are those of MViT-B.
    cfg.MVIT = CfgNode()
    cfg.MVIT.DEPTH = 16
    cfg.MVIT.EMBED_DIM = 96
    cfg.MVIT.NUM_HEADS = 1
    cfg.MVIT.MLP_RATIO = 4.0
    cfg.MVIT.DROPPATH_RATE = 0.1
    # Convolution that computes the tokens, over (frames, height, width).
    cfg.MVIT.PATCH_KERNEL = [3, 7, 7]
    cfg.MVIT.PATCH_STRIDE = [2, 4, 4]
    cfg.MVIT.PATCH_PADDING = [1, 3, 3]
    # [block, factor]: multiplies the width, or the number of heads, from that block on.
    cfg.MVIT.DIM_MUL = [[1, 2], [3, 2], [14, 2]]
    cfg.MVIT.HEAD_MUL = [[1, 2], [3, 2], [14, 2]]
    # [block, frames, height, width]: strides of the query pooling in that block.
    cfg.MVIT.POOL_Q_STRIDE = [[1, 1, 2, 2], [3, 1, 2, 2], [14, 1, 2, 2]]
    # Stride of the key and value pooling in the first block; each query pooling divides it by its stride.
    cfg.MVIT.POOL_KV_STRIDE_ADAPTIVE = [1, 8, 8]
    cfg.MVIT.POOL_KVQ_KERNEL = [3, 3, 3]


def check_network_config(cfg: CfgNode) -> list[str]:
    """Returns the problems of a configuration of one of these networks, one sentence each."""
    name = cfg.MODEL.MODEL_NAME
    if name not in CLIP_NETWORKS:
        return []
    problems = [*_check_clip(cfg)]
    if name in RESNETS:
        problems += _check_resnet(cfg)
    if name in SLOWFASTS:
        problems += _check_slowfast(cfg)
    return problems


def _check_clip(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of clips: all networks take one length, and MViT takes frames of one size."""
    frames, full_video = cfg.DATA.NUM_FRAMES, cfg.TRAIN.EVAL_NUM_FRAMES
    if cfg.TRAIN.EVAL_FULL_VIDEO and full_video != frames:
        yield (
            f"TRAIN.EVAL_FULL_VIDEO = True: must be False, since {cfg.MODEL.MODEL_NAME} takes clips of "
            f"DATA.NUM_FRAMES = {frames} frames, not TRAIN.EVAL_NUM_FRAMES = {full_video}; set it False and "
            "test on several clips (TEST.NUM_ENSEMBLE_VIEWS)"
        )
    jitter = cfg.DATA.TRAIN_JITTER_NUM_FRAMES
    if jitter and max(jitter) > frames:
        yield (
            f"DATA.TRAIN_JITTER_NUM_FRAMES = {jitter}: must be at most DATA.NUM_FRAMES = {frames}, since "
            f"{cfg.MODEL.MODEL_NAME} takes clips of one length and fills shorter ones up"
        )
    train, test = cfg.DATA.TRAIN_CROP_SIZE, cfg.DATA.TEST_CROP_SIZE
    if train < LEAST_CROP:
        yield (
            f"DATA.TRAIN_CROP_SIZE = {train}: must be {LEAST_CROP} or more, since {cfg.MODEL.MODEL_NAME} "
            "halves the size of frames five times and has no default size"
        )
    if cfg.MODEL.MODEL_NAME in MVITS and train != test:
        yield (
            f"DATA.TEST_CROP_SIZE = {test}: must be DATA.TRAIN_CROP_SIZE = {train}, since "
            f"{cfg.MODEL.MODEL_NAME} has a learned position for each patch of a frame of that size"
        )
    if test < train:
        yield f"DATA.TEST_CROP_SIZE = {test}: must be DATA.TRAIN_CROP_SIZE = {train} or more"


def _check_resnet(cfg: CfgNode) -> Iterator[str]:
    if cfg.RESNET.DEPTH not in RESNET_DEPTHS:
        yield f"RESNET.DEPTH = {cfg.RESNET.DEPTH}: must be one of {', '.join(map(str, RESNET_DEPTHS))}"
    if cfg.NONLOCAL.INSTANTIATION not in ("softmax", "dot_product"):
        yield f"NONLOCAL.INSTANTIATION = {cfg.NONLOCAL.INSTANTIATION!r}: must be one of softmax, dot_product"
    if cfg.MODEL.MODEL_NAME not in SLOWFASTS and cfg.MODEL.ARCH not in RESNET_ARCHS:
        yield f"MODEL.ARCH = {cfg.MODEL.ARCH!r}: must be one of {', '.join(RESNET_ARCHS)}"
    for key, value in (
        ("RESNET.NUM_BLOCK_TEMP_KERNEL", cfg.RESNET.NUM_BLOCK_TEMP_KERNEL),
        ("NONLOCAL.LOCATION", cfg.NONLOCAL.LOCATION),
        ("NONLOCAL.POOL", cfg.NONLOCAL.POOL),
    ):
        if len(value) != 4:
            yield f"{key} = {value}: must have four entries, one per stage"


def _check_slowfast(cfg: CfgNode) -> Iterator[str]:
    if cfg.SLOWFAST.ALPHA < 1 or cfg.DATA.NUM_FRAMES % cfg.SLOWFAST.ALPHA:
        yield (
            f"DATA.NUM_FRAMES = {cfg.DATA.NUM_FRAMES}: must be a multiple of SLOWFAST.ALPHA = "
            f"{cfg.SLOWFAST.ALPHA}, since the slow pathway gets one frame in SLOWFAST.ALPHA"
        )
    if cfg.SLOWFAST.BETA_INV < 1 or cfg.RESNET.WIDTH_PER_GROUP % cfg.SLOWFAST.BETA_INV:
        yield (
            f"SLOWFAST.BETA_INV = {cfg.SLOWFAST.BETA_INV}: must divide RESNET.WIDTH_PER_GROUP = "
            f"{cfg.RESNET.WIDTH_PER_GROUP}"
        )


PROJECT = Project(
    name="Kinetics",
    add_config=add_network_config,
    aliases={"TENSORBOARD.CLASS_NAMES_PATH": "DATA.CLASS_NAMES"},
    obsolete=OBSOLETE,
    check=check_network_config,
    modules=(
        "slowfast.features.build",
        "slowfast.models.pytorchvideo.resnets",
        "slowfast.models.pytorchvideo.networks",
    ),
    configs="slowfast.configs",
)
"""The framework's own networks, announced in the same way as an outside project."""
