"""VTN's entry point in the group ``slowfast.projects``; it imports neither torch nor the model."""

from __future__ import annotations

from slowfast.registry import Project
from vtn.config import ADJUSTABLE, ALIASES, OBSOLETE, add_vtn_config, check_vtn_config

PROJECT = Project(
    name="VTN",
    add_config=add_vtn_config,
    aliases=ALIASES,
    obsolete=OBSOLETE,
    check=check_vtn_config,
    adjustable=ADJUSTABLE,
    modules=("vtn.model", "vtn.frame_average", "vtn.attentive_probe"),
    configs="vtn.configs",
    analyses={"backbones": "vtn.analysis.backbones"},
    commands={"zoo": "vtn.cli.zoo"},
    probe="vtn.probing.candidates",
    weights="vtn.backbones.at_hand",
)
