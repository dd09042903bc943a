"""The keys that VTN adds to the framework's configuration, the original's names for them, and their checks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fvcore.common.config import CfgNode

BACKBONE_OF_ARCH: Mapping[str, str] = MappingProxyType(
    {
        "VIT": "vit_base_patch16_224",
        "VIT_B": "vit_base_patch16_224",
        "DEIT_B": "deit_base_patch16_224",
        "DEIT_TI": "deit_tiny_patch16_224",
        "R50": "resnet50",
        "R101": "resnet101",
    }
)
"""The backbone that ``MODEL.ARCH`` means where ``VTN.BACKBONE.NAME`` is empty (upper or lower case)."""

POSITIONS = ("learned", "sinusoidal", "none")
POSITION_UNITS = ("frame", "second")
MODEL_NAMES = ("VTN", "FrameAverage")

# The original keeps all keys flat under VTN; each stands for one of ours.
ALIASES: Mapping[str, str] = MappingProxyType(
    {
        **{f"VTN.{name}": f"VTN.BACKBONE.{name}" for name in ("PRETRAINED", "DROP_RATE", "DROP_PATH_RATE")},
        **{
            f"VTN.{name}": f"VTN.LONGFORMER.{name}"
            for name in (
                "HIDDEN_DIM",
                "NUM_HIDDEN_LAYERS",
                "NUM_ATTENTION_HEADS",
                "INTERMEDIATE_SIZE",
                "ATTENTION_WINDOW",
                "MAX_POSITION_EMBEDDINGS",
                "ATTENTION_PROBS_DROPOUT_PROB",
                "HIDDEN_DROPOUT_PROB",
            )
        },
        "VTN.MLP_DIM": "VTN.HEAD.MLP_DIM",
    }
)

OBSOLETE = ("VTN.ATTENTION_MODE", "VTN.PAD_TOKEN_ID")
"""Keys of the original that have no meaning here: padding is masked, and there is one attention."""


def add_vtn_config(cfg: CfgNode) -> None:
    """Adds the ``VTN`` section to a configuration, in place."""
    cfg.VTN = CfgNode()

    cfg.VTN.BACKBONE = CfgNode()
    # A timm model, or a name in BACKBONE_REGISTRY; empty: by MODEL.ARCH (VIT, DEIT_B, DEIT_TI, R50, R101).
    cfg.VTN.BACKBONE.NAME = ""
    # Start from the weights that the backbone's library publishes (downloads them).
    cfg.VTN.BACKBONE.PRETRAINED = True
    # Keep the backbone in evaluation mode and without gradients.
    cfg.VTN.BACKBONE.FROZEN = False
    # Keyword arguments passed to the backbone as they are.
    cfg.VTN.BACKBONE.ARGS = CfgNode(new_allowed=True)
    # Dropout and stochastic depth of the backbone.
    cfg.VTN.BACKBONE.DROP_RATE = 0.0
    cfg.VTN.BACKBONE.DROP_PATH_RATE = 0.0
    # Frames that go through the backbone at once; 0: all of a batch.
    cfg.VTN.BACKBONE.CHUNK_FRAMES = 0
    # Recompute the backbone's activations in the backward pass: less memory, more time.
    cfg.VTN.BACKBONE.ACT_CHECKPOINT = False

    cfg.VTN.LONGFORMER = CfgNode()
    # Width of the temporal encoder; a linear layer joins a backbone of another width to it.
    cfg.VTN.LONGFORMER.HIDDEN_DIM = 768
    cfg.VTN.LONGFORMER.NUM_HIDDEN_LAYERS = 3
    cfg.VTN.LONGFORMER.NUM_ATTENTION_HEADS = 12
    cfg.VTN.LONGFORMER.INTERMEDIATE_SIZE = 3072
    # Two-sided: a frame sees half of the window on each side. One even number for all layers, or one a layer.
    cfg.VTN.LONGFORMER.ATTENTION_WINDOW = [18]
    # Rows of the position table: positions count modulo this minus 2 ([CLS] and padding have a row each).
    cfg.VTN.LONGFORMER.MAX_POSITION_EMBEDDINGS = 288
    # learned (the table above), sinusoidal (fixed, any length), none.
    cfg.VTN.LONGFORMER.POSITION = "learned"
    # frame: index in the source video; second: time × POSITION_RATE.
    cfg.VTN.LONGFORMER.POSITION_UNIT = "frame"
    # Positions a second.
    cfg.VTN.LONGFORMER.POSITION_RATE = 25.0
    cfg.VTN.LONGFORMER.ATTENTION_PROBS_DROPOUT_PROB = 0.1
    cfg.VTN.LONGFORMER.HIDDEN_DROPOUT_PROB = 0.1

    cfg.VTN.HEAD = CfgNode()
    # Width of the head's hidden layer; its dropout is MODEL.DROPOUT_RATE.
    cfg.VTN.HEAD.MLP_DIM = 768


def backbone_name(cfg: CfgNode) -> str:
    """Returns ``VTN.BACKBONE.NAME``, or where it is empty the backbone that ``MODEL.ARCH`` means.

    Returns an empty string where neither says one; :func:`check_vtn_config` reports that.
    """
    return cfg.VTN.BACKBONE.NAME or BACKBONE_OF_ARCH.get(cfg.MODEL.ARCH.upper(), "")


def attention_windows(cfg: CfgNode) -> list[int]:
    """Returns the two-sided attention window of each layer; a single value stands for all layers."""
    windows = list(cfg.VTN.LONGFORMER.ATTENTION_WINDOW)
    return windows * cfg.VTN.LONGFORMER.NUM_HIDDEN_LAYERS if len(windows) == 1 else windows


def check_vtn_config(cfg: Any) -> list[str]:
    """Returns the problems of the ``VTN`` section, one sentence each."""
    return []
