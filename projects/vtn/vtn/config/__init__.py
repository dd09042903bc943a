"""The config keys of VTN: defaults, requirements, names in the original code, values that follow, and checks.

Importing this package does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vtn.config.check import check_vtn_config
from vtn.config.derived import attention_windows, backbone_name, built_model, lora_options
from vtn.config.names import ADJUSTABLE, ALIASES, OBSOLETE
from vtn.config.requirements import MODEL_NAMES, REQUIREMENTS

if TYPE_CHECKING:  # keeps `--help` fast
    from fvcore.common.config import CfgNode

__all__ = [
    "ADJUSTABLE",
    "ALIASES",
    "MODEL_NAMES",
    "OBSOLETE",
    "REQUIREMENTS",
    "add_vtn_config",
    "attention_windows",
    "backbone_name",
    "built_model",
    "check_vtn_config",
    "lora_options",
]


def add_vtn_config(cfg: CfgNode) -> None:
    """Adds the ``VTN`` section to a configuration, in place."""
    from vtn.config.defaults import KEYS

    cfg.update(KEYS.clone())
