"""Video Transformer Network: any image backbone, a linear-cost temporal encoder, a small head.

The names below are imported when they are first used, so that ``vtn.project`` stays importable without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vtn.backbone import BACKBONE_REGISTRY
    from vtn.create import create_model
    from vtn.frame_average import FrameAverage
    from vtn.model import VTN

__all__ = ["BACKBONE_REGISTRY", "VTN", "FrameAverage", "create_model"]

_MODULE_OF = {
    "BACKBONE_REGISTRY": "vtn.backbone",
    "VTN": "vtn.model",
    "FrameAverage": "vtn.frame_average",
    "create_model": "vtn.create",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'vtn' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
