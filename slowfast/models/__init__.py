"""Models by name and the contract that they keep."""

from slowfast.models.build import MODEL_REGISTRY, VideoModel, build_model

__all__ = ["MODEL_REGISTRY", "VideoModel", "build_model"]
