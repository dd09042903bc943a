from .arguments.backbone import BackboneConfig as BackboneConfig
from .arguments.groups import EncoderConfig as EncoderConfig
from .arguments.groups import FusionConfig as FusionConfig
from .arguments.groups import HeadConfig as HeadConfig
from .arguments.groups import InputConfig as InputConfig
from .arguments.groups import ProbeConfig as ProbeConfig
from .attentive_probe import AttentiveProbe as AttentiveProbe
from .backbones.base import BACKBONE_REGISTRY as BACKBONE_REGISTRY
from .backbones.base import ClipDescription as ClipDescription
from .explaining.explanation import Explanation as Explanation
from .explaining.video import ExplanationRequest as ExplanationRequest
from .factory import create_model as create_model
from .factory import list_models as list_models
from .frame_average import FrameAverage as FrameAverage
from .inference.features import VideoFeatures as VideoFeatures
from .inference.prediction import Prediction as Prediction
from .inference.prediction import Score as Score
from .inference.stream import VideoStream as VideoStream
from .inference.windows import Timeline as Timeline
from .inference.windows import score_video as score_video
from .inference.windows import score_windows as score_windows
from .model import VTN as VTN
from .predictor.predictor import Predictor as Predictor

__version__: str
