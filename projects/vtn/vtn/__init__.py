"""Video Transformer Network: any image backbone, a linear-cost temporal encoder, a small head.

The names below are imported when they are first used, so that ``vtn.project`` stays importable without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vtn.backbone import BACKBONE_REGISTRY
    from vtn.create import create_model
    from vtn.features import VideoFeatures
    from vtn.frame_average import FrameAverage
    from vtn.model import VTN
    from vtn.stream import VideoStream
    from vtn.windows import score_video, score_windows

__all__ = [
    "BACKBONE_REGISTRY",
    "VTN",
    "FrameAverage",
    "VideoFeatures",
    "VideoStream",
    "create_model",
    "score_video",
    "score_windows",
]

_MODULE_OF = {
    "BACKBONE_REGISTRY": "vtn.backbone",
    "VTN": "vtn.model",
    "FrameAverage": "vtn.frame_average",
    "VideoFeatures": "vtn.features",
    "VideoStream": "vtn.stream",
    "create_model": "vtn.create",
    "score_video": "vtn.windows",
    "score_windows": "vtn.windows",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'vtn' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
