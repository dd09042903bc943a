"""Types of the flat names of arguments, by which editors complete and check calls such as ``VTN(stage=1)``.

Names and types are those of the groups' fields, which a test compares; the groups' docstrings explain them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict


class BackboneFields(TypedDict, total=False):
    """Flat names of :class:`vtn.arguments.backbone.BackboneConfig`."""

    pretrained: bool
    backbone_checkpoint: str
    pooling: str
    tokens: Sequence[int]
    class_token: bool
    stage: int
    frozen: bool
    frozen_blocks: int
    learning_norms: bool
    frozen_dtype: str
    lora: Mapping[str, Any] | None
    backbone_args: Mapping[str, Any]
    drop_rate: float
    drop_path_rate: float
    chunk_frames: int
    clip_frames: int
    clip_stride: int
    act_checkpoint: bool
    act_checkpoint_every: int


class FusedModelFields(BackboneFields, total=False):
    """Flat names of a model with fusion, input preparation and VTN's head."""

    mlp_dim: int
    dropout_rate: float
    head_pooling: str
    head_skip: bool
    fusion_kind: str
    fusion_dim: int
    fusion_queries: int
    input_standardize: bool
    input_differences: bool
    input_dropout: float


class VTNFields(FusedModelFields, total=False):
    """Flat names of all fields of a VTN, with those of :class:`vtn.arguments.groups.EncoderConfig`."""

    hidden_dim: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    attention_window: int | Sequence[int]
    position: str
    max_position_embeddings: int
    position_rate: float | None
    encoder_checkpoint: str
    hidden_dropout: float
    attention_dropout: float
    adapt_positions: bool


class ProbeFields(BackboneFields, total=False):
    """Flat names of an attentive probe, with those of :class:`vtn.arguments.groups.ProbeConfig`."""

    probe_hidden_dim: int
    probe_num_blocks: int
    probe_num_heads: int
    probe_mlp_ratio: float
    probe_position: str
    probe_position_rate: float | None
    probe_dropout: float
