from .collation import TrainerDataset as TrainerDataset
from .collation import VideoCollator as VideoCollator
from .configuration import VTNConfig as VTNConfig
from .modeling import VTNForVideoClassification as VTNForVideoClassification
from .video_processing import VTNVideoProcessor as VTNVideoProcessor
