from .build import DATASET_REGISTRY as DATASET_REGISTRY
from .build import build_dataset as build_dataset
from .loading.loader import build_loader as build_loader
from .video_dataset import VideoDataset as VideoDataset
