from .build import MODEL_REGISTRY as MODEL_REGISTRY
from .build import build_model as build_model
from .capabilities import VideoModel as VideoModel
from .losses import LOSS_REGISTRY as LOSS_REGISTRY
from .score_activations import SCORE_ACTIVATION_REGISTRY as SCORE_ACTIVATION_REGISTRY
