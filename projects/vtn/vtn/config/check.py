"""The check of the keys of VTN."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vtn.config.check_backbone import check_backbone, check_tokens
from vtn.config.check_encoder import check_encoder, check_probe
from vtn.config.choices import HEAD_POOLINGS, MODEL_NAMES
from vtn.config.derived import backbone_name

if TYPE_CHECKING:  # keeps `--help` fast
    from fvcore.common.config import CfgNode


def check_vtn_config(cfg: CfgNode) -> list[str]:
    """Returns the problems of the ``VTN`` section, one sentence each; an empty list for other models."""
    if cfg.MODEL.MODEL_NAME not in MODEL_NAMES:
        return []
    problems = [*check_backbone(cfg), *check_tokens(cfg), *_check_input_and_pooling(cfg)]
    if cfg.VTN.HEAD.MLP_DIM < 1:
        problems.append(f"VTN.HEAD.MLP_DIM = {cfg.VTN.HEAD.MLP_DIM}: must be 1 or more")
    if cfg.MODEL.MODEL_NAME == "VTN":
        problems += check_encoder(cfg.VTN.LONGFORMER)
    if cfg.MODEL.MODEL_NAME == "AttentiveProbe":
        problems += check_probe(cfg.VTN.PROBE)
    return problems


def _check_input_and_pooling(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of the preparation of features and of the states that the head classifies."""
    given, head = cfg.VTN.INPUT, cfg.VTN.HEAD
    if not 0 <= given.DROPOUT < 1:
        yield f"VTN.INPUT.DROPOUT = {given.DROPOUT}: must be a fraction, 0 or more and less than 1"
    if given.STANDARDIZE and not cfg.VTN.BACKBONE.FROZEN and backbone_name(cfg) != "precomputed":
        yield (
            "VTN.INPUT.STANDARDIZE = True: must be False unless VTN.BACKBONE.FROZEN is True, since the "
            "statistics of features change while the backbone learns"
        )
    if head.POOLING not in HEAD_POOLINGS:
        yield f"VTN.HEAD.POOLING = {head.POOLING!r}: must be one of {', '.join(HEAD_POOLINGS)}"
    off: dict[str, Any] = {"INPUT.DIFFERENCES": False, "HEAD.POOLING": "cls", "HEAD.SKIP": False}
    if cfg.MODEL.MODEL_NAME == "AttentiveProbe":
        off |= {"INPUT.STANDARDIZE": False, "INPUT.DROPOUT": 0.0}
    if cfg.MODEL.MODEL_NAME == "VTN":
        off = {}
    for key, value in off.items():
        section, name = key.split(".")
        if cfg.VTN[section][name] != value:
            yield (
                f"VTN.{key} = {cfg.VTN[section][name]!r}: must be {value!r} for "
                f"{cfg.MODEL.MODEL_NAME}, which has no such part; use MODEL.MODEL_NAME VTN"
            )
