from .build import MODEL_REGISTRY as MODEL_REGISTRY
from .build import VideoModel as VideoModel
from .build import build_model as build_model
