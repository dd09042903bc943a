"""Configurations: keys with defaults, loading with inheritance and overrides, and the check.

Importing this package does not import torch.
"""

from slowfast.config.defaults import get_cfg, get_default_config
from slowfast.config.load import load_config

__all__ = ["get_cfg", "get_default_config", "load_config"]
