"""The check of the keys of VTN."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vtn.config.derived import BACKBONE_OF_ARCH, backbone_name, built_model
from vtn.config.requirements import REQUIREMENTS, width_problems, window_problems

if TYPE_CHECKING:  # keeps `--help` fast
    from fvcore.common.config import CfgNode


def check_vtn_config(cfg: CfgNode) -> list[str]:
    """Returns the problems of the ``VTN`` section, one sentence each; an empty list for other models."""
    model = built_model(cfg)
    if not model:
        return []
    problems = [*_check_values(cfg, model), *_check_backbone(cfg, model)]
    problems += _check_input_and_pooling(cfg, model)
    if model == "VTN":
        problems += _check_encoder(cfg.VTN.LONGFORMER)
    if model == "AttentiveProbe":
        problems += _check_heads("VTN.PROBE", cfg.VTN.PROBE, "NUM_HEADS")
    return problems


def _check_values(cfg: CfgNode, model: str) -> Iterator[str]:
    """Yields the problems of single keys, except those of networks that the model does not have."""
    from slowfast.config.values import value_of

    own = {"VTN": ("VTN.LONGFORMER.",), "AttentiveProbe": ("VTN.PROBE.",)}.get(model, ())
    sections = ("VTN.BACKBONE.", "VTN.FUSION", "VTN.INPUT.", "VTN.HEAD.", *own)
    for key, requirement in REQUIREMENTS.items():
        if key.startswith(sections):
            yield from requirement.problems(key, value_of(cfg, key))


def _check_backbone(cfg: CfgNode, model: str) -> Iterator[str]:
    """Yields the problems of keys that choose the backbone, its trainable parts, and several tokens."""
    backbone = cfg.VTN.BACKBONE
    if not backbone_name(cfg):
        yield (
            f"MODEL.ARCH = {cfg.MODEL.ARCH!r}: must be one of {', '.join(BACKBONE_OF_ARCH)} where "
            "VTN.BACKBONE.NAME is empty; set either of them"
        )
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
            "backbone is frozen; use TRAIN.PRECISION mixed for trained parts"
        )
    if backbone.FROZEN_DTYPE == "float16" and backbone.LEARNING_NORMS:
        yield (
            "VTN.BACKBONE.FROZEN_DTYPE = 'float16': must be 'bfloat16' or '' where LEARNING_NORMS is True; "
            "the gradients of norms pass through the frozen part, and are rounded to 0 in float16"
        )
    if lora.RANK and frozen:
        yield (
            f"VTN.BACKBONE.LORA.RANK = {lora.RANK}: must be 0 with a frozen backbone; set it 0, or to "
            "train LoRA, which itself freezes the backbone's weights, set FROZEN False and FROZEN_BLOCKS 0"
        )
    if backbone.POOLING and (list(backbone.TOKENS) != [1, 1] or backbone.CLASS_TOKEN or backbone.STAGE):
        yield (
            f"VTN.BACKBONE.POOLING = {backbone.POOLING!r}: must be '' where VTN.BACKBONE.TOKENS, CLASS_TOKEN "
            "or STAGE choose parts of the feature map"
        )
    if model == "FrameAverage" and cfg.VTN.FUSION == "sequence":
        yield "VTN.FUSION = 'sequence': must be concat or attend for FrameAverage, which has no encoder"


def _check_input_and_pooling(cfg: CfgNode, model: str) -> Iterator[str]:
    """Yields the problems of the preparation of features and of the states that the head classifies."""
    if cfg.VTN.INPUT.STANDARDIZE and not cfg.VTN.BACKBONE.FROZEN and backbone_name(cfg) != "precomputed":
        yield (
            "VTN.INPUT.STANDARDIZE = True: must be False unless VTN.BACKBONE.FROZEN is True, since the "
            "statistics of features change while the backbone learns"
        )
    off: dict[str, Any] = {"INPUT.DIFFERENCES": False, "HEAD.POOLING": "cls", "HEAD.SKIP": False}
    if model == "AttentiveProbe":
        off |= {"INPUT.STANDARDIZE": False, "INPUT.DROPOUT": 0.0}
    if model == "VTN":
        off = {}
    for key, value in off.items():
        section, name = key.split(".")
        if cfg.VTN[section][name] != value:
            yield (
                f"VTN.{key} = {cfg.VTN[section][name]!r}: must be {value!r} for "
                f"{cfg.MODEL.MODEL_NAME}, which has no such part; use MODEL.MODEL_NAME VTN"
            )


def _check_encoder(encoder: CfgNode) -> Iterator[str]:
    """Yields the problems of ``VTN.LONGFORMER``."""
    yield from _check_heads("VTN.LONGFORMER", encoder, "NUM_ATTENTION_HEADS")
    names = ("VTN.LONGFORMER.ATTENTION_WINDOW", "VTN.LONGFORMER.NUM_HIDDEN_LAYERS")
    yield from window_problems(names, encoder.ATTENTION_WINDOW, encoder.NUM_HIDDEN_LAYERS)


def _check_heads(section: str, node: CfgNode, heads_key: str) -> Iterator[str]:
    # Width 0 of the probe stands for the width of the features, which only the built backbone knows.
    names = (f"{section}.HIDDEN_DIM", f"{section}.{heads_key}", f"{section}.POSITION")
    yield from width_problems(names, node.HIDDEN_DIM, node[heads_key], node.POSITION)
