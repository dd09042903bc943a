"""The config keys of VTN: defaults, choices, names in the original code, values that follow, and checks.

Importing this package does not import torch.
"""

from vtn.config.check import check_vtn_config
from vtn.config.choices import (
    FROZEN_DTYPES,
    FUSIONS,
    HEAD_POOLINGS,
    MODEL_NAMES,
    POOLINGS,
    POSITION_UNITS,
    POSITIONS,
    PROBE_POSITIONS,
)
from vtn.config.defaults import add_vtn_config
from vtn.config.derived import BACKBONE_OF_ARCH, attention_windows, backbone_name, lora_options
from vtn.config.names import ADJUSTABLE, ALIASES, OBSOLETE

__all__ = [
    "ADJUSTABLE",
    "ALIASES",
    "BACKBONE_OF_ARCH",
    "FROZEN_DTYPES",
    "FUSIONS",
    "HEAD_POOLINGS",
    "MODEL_NAMES",
    "OBSOLETE",
    "POOLINGS",
    "POSITIONS",
    "POSITION_UNITS",
    "PROBE_POSITIONS",
    "add_vtn_config",
    "attention_windows",
    "backbone_name",
    "check_vtn_config",
    "lora_options",
]
