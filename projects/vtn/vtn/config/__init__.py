"""The config keys of VTN: defaults, requirements, names in the original code, values that follow, and checks.

Importing this package does not import torch.
"""

from vtn.config.check import check_vtn_config
from vtn.config.defaults import add_vtn_config
from vtn.config.derived import BACKBONE_OF_ARCH, attention_windows, backbone_name, lora_options
from vtn.config.names import ADJUSTABLE, ALIASES, OBSOLETE
from vtn.config.requirements import MODEL_NAMES, REQUIREMENTS

__all__ = [
    "ADJUSTABLE",
    "ALIASES",
    "BACKBONE_OF_ARCH",
    "MODEL_NAMES",
    "OBSOLETE",
    "REQUIREMENTS",
    "add_vtn_config",
    "attention_windows",
    "backbone_name",
    "check_vtn_config",
    "lora_options",
]
