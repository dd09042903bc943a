"""Checks of the keys of the backbone and of the tokens that it gives per frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vtn.config.choices import FROZEN_DTYPES, FUSIONS, POOLINGS
from vtn.config.derived import BACKBONE_OF_ARCH, backbone_name

if TYPE_CHECKING:  # keeps `--help` fast
    from fvcore.common.config import CfgNode


def check_backbone(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of ``VTN.BACKBONE``, except those of :func:`check_tokens`."""
    backbone = cfg.VTN.BACKBONE
    if not backbone_name(cfg):
        yield (
            f"MODEL.ARCH = {cfg.MODEL.ARCH!r}: must be one of {', '.join(BACKBONE_OF_ARCH)} where "
            "VTN.BACKBONE.NAME is empty; set either of them"
        )
    for key in ("DROP_RATE", "DROP_PATH_RATE"):
        if not 0 <= backbone[key] < 1:
            yield f"VTN.BACKBONE.{key} = {backbone[key]}: must be a fraction, 0 or more and less than 1"
    for key, choices in (("POOLING", POOLINGS), ("FROZEN_DTYPE", FROZEN_DTYPES)):
        if backbone[key] not in ("", *choices):
            yield f"VTN.BACKBONE.{key} = {backbone[key]!r}: must be one of {', '.join(choices)}, or ''"
    yield from _check_learning(backbone)
    for key, zero in (
        ("CHUNK_FRAMES", "all at once"),
        ("CLIP_FRAMES", "as in the training of the encoder"),
        ("CLIP_STRIDE", "one clip after another"),
    ):
        if backbone[key] < 0:
            yield f"VTN.BACKBONE.{key} = {backbone[key]}: must be 0 ({zero}) or more"


def _check_learning(backbone: CfgNode) -> Iterator[str]:
    """Yields the problems of the keys that choose the trainable parts of the backbone."""
    if backbone.FROZEN_BLOCKS < 0:
        yield f"VTN.BACKBONE.FROZEN_BLOCKS = {backbone.FROZEN_BLOCKS}: must be 0 (none) or more"
    if backbone.FROZEN and backbone.FROZEN_BLOCKS:
        yield (
            f"VTN.BACKBONE.FROZEN_BLOCKS = {backbone.FROZEN_BLOCKS}: must be 0 where VTN.BACKBONE.FROZEN is "
            "True, which freezes all blocks; use one of the two"
        )
    lora = backbone.LORA
    frozen = backbone.FROZEN or backbone.FROZEN_BLOCKS > 0
    if backbone.LEARNING_NORMS and not (frozen or lora.RANK):
        yield (
            "VTN.BACKBONE.LEARNING_NORMS = True: must be False where no part of the backbone is frozen; set "
            "VTN.BACKBONE.FROZEN True, or set it False"
        )
    if backbone.FROZEN_DTYPE and not frozen:
        yield (
            f"VTN.BACKBONE.FROZEN_DTYPE = {backbone.FROZEN_DTYPE!r}: must be '' where no part of the "
            "backbone is frozen; use TRAIN.MIXED_PRECISION for trained parts"
        )
    if backbone.FROZEN_DTYPE == "float16" and backbone.LEARNING_NORMS:
        yield (
            "VTN.BACKBONE.FROZEN_DTYPE = 'float16': must be 'bfloat16' or '' where LEARNING_NORMS is True; "
            "the gradients of norms pass through the frozen part, and are rounded to 0 in float16"
        )
    if lora.RANK < 0:
        yield f"VTN.BACKBONE.LORA.RANK = {lora.RANK}: must be 0 (no LoRA) or more"
    if lora.RANK and frozen:
        yield (
            f"VTN.BACKBONE.LORA.RANK = {lora.RANK}: must be 0 with a frozen backbone, since LoRA itself "
            "freezes the backbone's weights; set VTN.BACKBONE.FROZEN False and FROZEN_BLOCKS 0"
        )
    if not 0 <= lora.DROPOUT < 1:
        yield f"VTN.BACKBONE.LORA.DROPOUT = {lora.DROPOUT}: must be a fraction, 0 or more and less than 1"


def check_tokens(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of the keys that choose several tokens per frame."""
    backbone, vtn = cfg.VTN.BACKBONE, cfg.VTN
    tokens = list(backbone.TOKENS)
    if len(tokens) != 2 or not all(isinstance(count, int) and count >= 1 for count in tokens):
        yield (
            f"VTN.BACKBONE.TOKENS = {tokens}: must be rows and columns of a grid, such as [3, 3]; [1, 1] is "
            "one pooled vector per frame"
        )
    if backbone.STAGE < 0:
        yield f"VTN.BACKBONE.STAGE = {backbone.STAGE}: must be 0 (the last feature map) or more"
    if backbone.POOLING and (tokens != [1, 1] or backbone.CLASS_TOKEN or backbone.STAGE):
        yield (
            f"VTN.BACKBONE.POOLING = {backbone.POOLING!r}: must be '' where VTN.BACKBONE.TOKENS, CLASS_TOKEN "
            "or STAGE choose parts of the feature map"
        )
    if vtn.FUSION not in FUSIONS:
        yield f"VTN.FUSION = {vtn.FUSION!r}: must be one of {', '.join(FUSIONS)}"
    if cfg.MODEL.MODEL_NAME == "FrameAverage" and vtn.FUSION == "sequence":
        yield "VTN.FUSION = 'sequence': must be concat or attend for FrameAverage, which has no encoder"
    if vtn.FUSION_DIM < 0:
        yield f"VTN.FUSION_DIM = {vtn.FUSION_DIM}: must be 0 (chosen from HIDDEN_DIM) or more"
    if vtn.FUSION_QUERIES < 1:
        yield f"VTN.FUSION_QUERIES = {vtn.FUSION_QUERIES}: must be 1 or more"
