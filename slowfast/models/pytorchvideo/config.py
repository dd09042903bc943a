"""The config keys of pytorchvideo's networks (SlowFast, Slow, C2D, I3D, X3D, MViT) and their checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from slowfast.config.obsolete import FixedKey
from slowfast.registry import Project

if TYPE_CHECKING:  # keeps `--help` fast
    from fvcore.common.config import CfgNode

RESNET_ARCHS = ("c2d", "i3d", "slow")
RESNET_DEPTHS = (50, 101, 152)
RESNETS = ("PTVResNet", "ResNet", "PTVSlowFast", "SlowFast")
"""Models that use the sections RESNET and NONLOCAL. Each network has its name in PySlowFast's adapter of
pytorchvideo, and the name of PySlowFast's own implementation where both are the same network."""
SLOWFASTS = ("PTVSlowFast", "SlowFast")
X3DS = ("PTVX3D", "X3D")
MVITS = ("PTVMViT",)
LEAST_CROP = 32
CLIP_NETWORKS = (*RESNETS, *X3DS, *MVITS)


OBSOLETE = (
    "RESNET.INPLACE_RELU",
    "MVIT.NORM",
    "MVIT.REL_POS_ZERO_INIT",
    "MVIT.REV",
    "MVIT.SEPARATE_QKV",
)
"""Keys of PySlowFast that do not change a network, or only together with one of ``FIXED_KEYS``."""


def _is_of(names: Sequence[str]) -> Callable[[CfgNode], bool]:
    """Returns the test whether a configuration has one of these models."""
    return lambda cfg: cfg.MODEL.MODEL_NAME in names


def _starts_as(names: Sequence[str]) -> Callable[[CfgNode], bool]:
    """Returns the test whether a configuration trains one of these models."""
    return lambda cfg: cfg.TRAIN.ENABLE and cfg.MODEL.MODEL_NAME in names


def _fixed(names: Sequence[str], reason: str, section: str, **values: Any) -> dict[str, FixedKey]:
    """Returns the keys of a section that have one value for these models."""
    return {
        f"{section}.{key}": FixedKey(value, reason, applies=_is_of(names)) for key, value in values.items()
    }


FIXED_KEYS: Mapping[str, FixedKey] = MappingProxyType(
    {
        **_fixed(
            RESNETS,
            "the residual networks of this program have bottlenecks of one form",
            "RESNET",
            NUM_GROUPS=1,
            SPATIAL_DILATIONS=[[1], [1], [1], [1]],
            SPATIAL_STRIDES=[[1], [2], [2], [2]],
            STRIDE_1X1=False,
            TRANS_FUNC="bottleneck_transform",
        ),
        **_fixed(RESNETS, "non-local blocks see all frames", "NONLOCAL", GROUP=[[1], [1], [1], [1]]),
        "RESNET.ZERO_INIT_FINAL_BN": FixedKey(
            True, "residual blocks start as the identity", is_refused=False, applies=_starts_as(RESNETS)
        ),
        "RESNET.ZERO_INIT_FINAL_CONV": FixedKey(
            False, "convolutions start from random weights", is_refused=False, applies=_starts_as(RESNETS)
        ),
        **_fixed(
            X3DS,
            "X3D has the form of its paper",
            "X3D",
            BN_LIN5=False,
            CHANNELWISE_3x3x3=True,
            SCALE_RES2=False,
        ),
        "MODEL.DROPCONNECT_RATE": FixedKey(0, "X3D drops no blocks", applies=_starts_as(X3DS)),
        **_fixed(
            (*MVITS, "MViT"),
            "only MViT version 1 with separate absolute positions is available",
            "MVIT",
            CLS_EMBED_ON=True,
            DIM_MUL_IN_ATT=False,
            DROPOUT_RATE=0,
            LAYER_SCALE_INIT_VALUE=0,
            MODE="conv",
            NORM_STEM=False,
            PATCH_2D=False,
            POOL_FIRST=False,
            POOL_KV_STRIDE=[],
            QKV_BIAS=True,
            REL_POS_SPATIAL=False,
            REL_POS_TEMPORAL=False,
            RESIDUAL_POOLING=False,
            SEP_POS_EMBED=True,
            USE_ABS_POS=True,
            USE_FIXED_SINCOS_POS=False,
            USE_MEAN_POOLING=False,
        ),
        **_fixed((*MVITS, "MViT"), "the reversible MViT is not available", "MVIT.REV", ENABLE=False),
        "MVIT.HEAD_INIT_SCALE": FixedKey(
            1, "the last layer starts as its network defines it", is_refused=False, applies=_starts_as(MVITS)
        ),
        "MVIT.ZERO_DECAY_POS_CLS": FixedKey(
            True,
            "with SOLVER.ZERO_WD_1D_PARAM positions and the class token have no weight decay",
            is_refused=False,
            applies=_starts_as(MVITS),
        ),
    }
)
"""Keys of PySlowFast for variants of the networks that pytorchvideo does not have."""


def add_network_config(cfg: CfgNode) -> None:
    """Adds the sections of pytorchvideo's networks to a configuration, in place."""
    _add_resnet_config(cfg)
    _add_x3d_config(cfg)
    _add_mvit_config(cfg)


def _add_resnet_config(cfg: CfgNode) -> None:
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


def _add_x3d_config(cfg: CfgNode) -> None:
    from fvcore.common.config import CfgNode

    cfg.X3D = CfgNode()
    # Factors of the channels, the number of blocks, and the inner channels of a block.
    cfg.X3D.WIDTH_FACTOR = 1.0
    cfg.X3D.DEPTH_FACTOR = 1.0
    cfg.X3D.BOTTLENECK_FACTOR = 1.0
    # Channels of the stem before WIDTH_FACTOR is applied, and channels of the head.
    cfg.X3D.DIM_C1 = 12
    cfg.X3D.DIM_C5 = 2048


def _add_mvit_config(cfg: CfgNode) -> None:
    from fvcore.common.config import CfgNode

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
    fixed_keys=FIXED_KEYS,
    check=check_network_config,
    modules=(
        "slowfast.features.build",
        "slowfast.models.pytorchvideo.resnets",
        "slowfast.models.pytorchvideo.networks",
    ),
    configs="slowfast.configs",
)
"""The framework's own networks, announced in the same way as an outside project."""
