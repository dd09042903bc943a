"""Capabilities of models: attributes and methods that the framework uses, as protocols for ``isinstance``.

:class:`VideoModel` is required, all others are optional. A model has a capability where it has the attributes
and methods of the protocol; it needs no base class.

The modules import torch for type checkers only: the solver uses them, and the check of a configuration
imports the solver.
"""

from slowfast.models.capabilities.features import AttendsFrames as AttendsFrames
from slowfast.models.capabilities.features import DescribesStates as DescribesStates
from slowfast.models.capabilities.features import EncodesClips as EncodesClips
from slowfast.models.capabilities.features import EncodingSetup as EncodingSetup
from slowfast.models.capabilities.features import FeatureModel as FeatureModel
from slowfast.models.capabilities.features import FrameByFrameModel as FrameByFrameModel
from slowfast.models.capabilities.features import HasTokens as HasTokens
from slowfast.models.capabilities.features import PreparesEncoding as PreparesEncoding
from slowfast.models.capabilities.features import PreparesFrozenEncoding as PreparesFrozenEncoding
from slowfast.models.capabilities.features import StandardizesFeatures as StandardizesFeatures
from slowfast.models.capabilities.features import clip_grid_of as clip_grid_of
from slowfast.models.capabilities.features import feature_shape as feature_shape
from slowfast.models.capabilities.features import feature_shape_of as feature_shape_of
from slowfast.models.capabilities.features import num_tokens_of as num_tokens_of
from slowfast.models.capabilities.video_model import AdaptsWeights as AdaptsWeights
from slowfast.models.capabilities.video_model import ChecksFrameSize as ChecksFrameSize
from slowfast.models.capabilities.video_model import ExemptsWeightDecay as ExemptsWeightDecay
from slowfast.models.capabilities.video_model import FillsShortClips as FillsShortClips
from slowfast.models.capabilities.video_model import HasClasses as HasClasses
from slowfast.models.capabilities.video_model import HasFrameInterpolation as HasFrameInterpolation
from slowfast.models.capabilities.video_model import HasFrameMultiple as HasFrameMultiple
from slowfast.models.capabilities.video_model import HasFrameSize as HasFrameSize
from slowfast.models.capabilities.video_model import HasLayerDepths as HasLayerDepths
from slowfast.models.capabilities.video_model import HasMemoryRemedies as HasMemoryRemedies
from slowfast.models.capabilities.video_model import HasPublishedWeights as HasPublishedWeights
from slowfast.models.capabilities.video_model import HasShardUnits as HasShardUnits
from slowfast.models.capabilities.video_model import VideoModel as VideoModel
from slowfast.models.capabilities.video_model import memory_remedies as memory_remedies
