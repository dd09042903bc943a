"""Capabilities of models: attributes and methods that the framework uses, as protocols for ``isinstance``.

:class:`VideoModel` is required, all others are optional. A model has a capability where it has the attributes
and methods of the protocol; it needs no base class.

The modules import torch for type checkers only: the solver uses them, and the check of a configuration
imports the solver.
"""

from slowfast.models.capabilities.encoding import EncodingSetup, PreparesEncoding, PreparesFrozenEncoding
from slowfast.models.capabilities.features import (
    AttendsFrames,
    DescribesStates,
    EncodesClips,
    FeatureModel,
    FrameByFrameModel,
    HasTokens,
    StandardizesFeatures,
    clip_grid_of,
    feature_shape,
    feature_shape_of,
    num_tokens_of,
)
from slowfast.models.capabilities.frame_format import (
    ChecksFrameSize,
    HasFrameInterpolation,
    HasFrameMultiple,
    HasFrameSize,
    HasPublishedWeights,
)
from slowfast.models.capabilities.parameters import (
    AdaptsWeights,
    ExemptsWeightDecay,
    HasClasses,
    HasLayerDepths,
    HasMemoryRemedies,
    HasShardUnits,
    memory_remedies,
)
from slowfast.models.capabilities.video_model import FillsShortClips, VideoModel

__all__ = [
    "AdaptsWeights",
    "AttendsFrames",
    "ChecksFrameSize",
    "DescribesStates",
    "EncodesClips",
    "EncodingSetup",
    "ExemptsWeightDecay",
    "FeatureModel",
    "FillsShortClips",
    "FrameByFrameModel",
    "HasClasses",
    "HasFrameInterpolation",
    "HasFrameMultiple",
    "HasFrameSize",
    "HasLayerDepths",
    "HasMemoryRemedies",
    "HasPublishedWeights",
    "HasShardUnits",
    "HasTokens",
    "PreparesEncoding",
    "PreparesFrozenEncoding",
    "StandardizesFeatures",
    "VideoModel",
    "clip_grid_of",
    "feature_shape",
    "feature_shape_of",
    "memory_remedies",
    "num_tokens_of",
]
