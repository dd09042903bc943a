"""Keys of the original code, and keys that may change when a run is resumed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# The original code has all keys directly under VTN; each is an alias of a key here.
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
"""Keys of the original code without a meaning here: padding is masked, and there is a single attention."""

ADJUSTABLE = (
    "VTN.BACKBONE.PRETRAINED",
    "VTN.BACKBONE.CHECKPOINT",
    "VTN.BACKBONE.DROP_",
    "VTN.BACKBONE.CHUNK_FRAMES",
    "VTN.BACKBONE.ACT_CHECKPOINT",
    "VTN.LONGFORMER.ADAPT_POSITIONS",
    "VTN.LONGFORMER.CHECKPOINT",
    "VTN.LONGFORMER.HIDDEN_DROPOUT_PROB",
    "VTN.LONGFORMER.ATTENTION_PROBS_DROPOUT_PROB",
    "VTN.PROBE.DROPOUT",
)
"""Keys that may change when a run is resumed, since the model remains the same."""
