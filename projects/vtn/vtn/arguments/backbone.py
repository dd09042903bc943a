"""Arguments of the image backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from fvcore.common.config import CfgNode

from slowfast.errors import ModelError
from vtn.arguments.groups import Settings, setting
from vtn.config import backbone_name, lora_options

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class BackboneConfig(Settings):
    """The image backbone: the network that maps each frame (3, H, W) to a feature (F,), and how it learns.

    Attributes:
        name: a name in ``BACKBONE_REGISTRY``, a timm model, ``hf:NAME`` or ``hf:FOLDER`` (Hugging Face),
            ``torchvision:NAME``, ``detectron2:CONFIG``, ``pytorchvideo:NAME``; or a network (N, 3, H, W) ->
            (N, F) with an integer attribute ``feature_dim``, which brings its own weights.
        pretrained: True: start from the weights in ``checkpoint``, or without one from those that the
            backbone's library publishes, which are downloaded. False: start from random weights.
        checkpoint: path of a file with the backbone's weights, or with those of a whole model; empty: none.
        pooling: ``cls``, ``mean`` or ``map`` makes one feature of the many of a transformer; empty: as its
            authors did. Registered backbones and given networks accept only the empty string.
        tokens: rows and columns of a grid of tokens on the backbone's feature map, each 1 or more; each token
            is the mean over a cell. [1, 1] without ``class_token`` and ``stage``: the backbone's own pooling.
        class_token: True adds the class token of a transformer to the grid, as token 0.
        stage: the feature map after this stage (convolutional networks) or block (transformers), counted from
            1; 0: the last map, after the final norm of a transformer. A norm in the head of a convolutional
            network of timm, after its pooling, is not applied to maps.
        frozen: True keeps the whole backbone in evaluation mode and without gradients.
        frozen_blocks: the stem and this many of the first blocks are frozen; 0 or more. 0: nothing.
        learning_norms: True lets the normalisation layers of the frozen part learn scales and offsets.
        frozen_dtype: ``bfloat16`` or ``float16``, in which the frozen part computes; empty: like the rest.
        lora: fields of :class:`vtn.backbones.tuning.lora.LoRA` (``rank``, ``alpha``, ``dropout``,
            ``targets``); the backbone is then frozen except for the added matrices. None: no LoRA. Needs the
            package ``peft`` and excludes ``frozen`` and ``frozen_blocks``.
        args: further keyword arguments of the backbone's constructor, such as ``{"img_size": 32}``.
        drop_rate: dropout probability in the backbone, 0 or more and below 1. 0: not passed on.
        drop_path_rate: probability of skipping a residual branch (stochastic depth), in the same range.
        chunk_frames: number of frames that pass the backbone at once, which bounds memory; 0: all of a batch.
        clip_frames: frames per clip of a clip encoder, a multiple of its frames per time step; 0: as in its
            training. Backbones of single images take 0 only.
        clip_stride: frames from the start of a clip to the start of the next one; 0: ``clip_frames``. Where
            clips overlap, a time step is taken from the clip in whose middle it is; where they leave gaps,
            the frames between them are not read.
        act_checkpoint: True recomputes the backbone's activations in the backward pass, which needs less
            memory and more time.
        act_checkpoint_every: k, with ``act_checkpoint``: of each k blocks the first is recomputed on its own;
            0: the whole backbone at once, which saves memory with ``chunk_frames`` only.

    Raises:
        ModelError: for a value outside these ranges. Names, weights and arguments that the backbone does not
            accept are reported when the model is built.
    """

    group = "backbone"
    name: str | nn.Module = "vit_base_patch16_224"
    pretrained: bool = setting(True, "VTN.BACKBONE.PRETRAINED")
    checkpoint: str = setting("", "VTN.BACKBONE.CHECKPOINT")
    pooling: str = setting("", "VTN.BACKBONE.POOLING")
    tokens: Sequence[int] = setting((1, 1), "VTN.BACKBONE.TOKENS")
    class_token: bool = setting(False, "VTN.BACKBONE.CLASS_TOKEN")
    stage: int = setting(0, "VTN.BACKBONE.STAGE")
    frozen: bool = setting(False, "VTN.BACKBONE.FROZEN")
    frozen_blocks: int = setting(0, "VTN.BACKBONE.FROZEN_BLOCKS")
    learning_norms: bool = setting(False, "VTN.BACKBONE.LEARNING_NORMS")
    frozen_dtype: str = setting("", "VTN.BACKBONE.FROZEN_DTYPE")
    lora: Mapping[str, Any] | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    drop_rate: float = setting(0.0, "VTN.BACKBONE.DROP_RATE")
    drop_path_rate: float = setting(0.0, "VTN.BACKBONE.DROP_PATH_RATE")
    chunk_frames: int = setting(0, "VTN.BACKBONE.CHUNK_FRAMES")
    clip_frames: int = setting(0, "VTN.BACKBONE.CLIP_FRAMES")
    clip_stride: int = setting(0, "VTN.BACKBONE.CLIP_STRIDE")
    act_checkpoint: bool = setting(False, "VTN.BACKBONE.ACT_CHECKPOINT")
    act_checkpoint_every: int = setting(0, "VTN.BACKBONE.ACT_CHECKPOINT_EVERY")

    def __post_init__(self) -> None:
        if self.args is None:  # None in config.json of older folders
            object.__setattr__(self, "args", {})
        if isinstance(self.tokens, Sequence):
            object.__setattr__(self, "tokens", list(self.tokens))  # as in config.json
        super().__post_init__()
        for name, value in (("args", self.args), ("lora", {} if self.lora is None else self.lora)):
            if not isinstance(value, Mapping):
                raise ModelError(f"backbone.{name} = {value!r}: must be a mapping of names to values")
        if self.pooling and (self.tokens != [1, 1] or self.class_token or self.stage):
            raise ModelError(
                f"backbone.pooling = {self.pooling!r}: must be '' where tokens, class_token or stage choose "
                "parts of the feature map"
            )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        """Returns the group that ``VTN.BACKBONE`` and ``MODEL.ARCH`` of a configuration describe."""
        node = cfg.VTN.BACKBONE
        return replace(
            super().from_config(cfg),
            name=backbone_name(cfg),
            pretrained=node.PRETRAINED or bool(node.CHECKPOINT),
            lora=lora_options(cfg),
            args=dict(node.ARGS),
        )
