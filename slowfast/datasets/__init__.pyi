from .build import DATASET_REGISTRY as DATASET_REGISTRY
from .build import build_dataset as build_dataset
from .loading.loader import build_loader as build_loader
from .loading.loader import construct_loader as construct_loader
from .loading.samplers import SAMPLER_REGISTRY as SAMPLER_REGISTRY
from .video_dataset import VideoDataset as VideoDataset
