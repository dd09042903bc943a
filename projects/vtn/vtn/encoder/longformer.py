"""Starting the temporal encoder from a Longformer that was trained elsewhere, on text or on video.

The layers have the same names and shapes in both, so they are taken as they are. What may differ has rules:

* layers: the first ones are taken; the source must have as many as the encoder or more.
* attention window: no weight depends on it, any width goes.
* positions: the encoder's table has a row for each frame position, one for [CLS], and a zero row for padding.
  Rows for frames are the source's rows in their order; where the encoder has more positions than the source,
  the source's are repeated, as Longformer's own authors stretched the table that they began with.
* [CLS]: its position is that of the source's [CLS]: in a table of ours the row behind the frames, in one of
  text (whose row 1 is padding, with positions from row 2 on) the first one; frames follow from the second on.
* token types: a source with one type gives it to frames and [CLS] alike.
* word embeddings and the pooler have no counterpart and are left out, as is what belongs to another head.

P rows of the position table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slowfast.checkpoint.storage import read_checkpoint, weights_in
from slowfast.checkpoint.weights import load_weights
from slowfast.errors import CheckpointError
from vtn.encoder.positions import LearnedPositions
from vtn.encoder.temporal_encoder import TemporalEncoder

PREFIXES = ("temporal_encoder.", "longformer.", "")
TABLE = "embeddings.position_embeddings.weight"
TYPES = "embeddings.token_type_embeddings.weight"
LAYER = "encoder.layer."


def start_from_longformer(encoder: TemporalEncoder, source: str | Path) -> None:
    """Loads the layers and embeddings of a Longformer into ``encoder``, in place.

    Args:
        source: a folder in Hugging Face's form (``config.json`` with ``model.safetensors`` or
            ``pytorch_model.bin``), a file of a Longformer's weights, or one of a VTN's.

    Raises:
        CheckpointError: where there is none, or its width, heads or layers do not suit the encoder.
    """
    path, config = _locate(Path(source))
    heads = config.get("num_attention_heads", encoder.layers[0].num_heads)
    if heads != encoder.layers[0].num_heads:
        raise CheckpointError(
            f"{source}: its layers have {heads} attention heads, ours {encoder.layers[0].num_heads}; "
            f"set VTN.LONGFORMER.NUM_ATTENTION_HEADS {heads}"
        )
    weights = _longformer_in(weights_in(read_checkpoint(path), path), path)
    load_weights(encoder, adapt_longformer(weights, encoder), source=str(path))


def adapt_longformer(weights: Mapping[str, Tensor], encoder: TemporalEncoder) -> dict[str, Tensor]:
    """Returns a state dict for ``encoder`` from one of a Longformer, by the rules above.

    The layer that joins a backbone of another width to the encoder has no counterpart and stays as it is.
    """
    own = encoder.state_dict()
    layers = {int(name.split(".")[2]) for name in weights if name.startswith(LAYER)}
    if len(layers) < len(encoder.layers):
        raise CheckpointError(
            f"the Longformer has {len(layers)} layers and the encoder {len(encoder.layers)}; set "
            f"VTN.LONGFORMER.NUM_HIDDEN_LAYERS to {len(layers)} or less"
        )
    adapted = {name: weights[name] for name in own if name in weights}
    if isinstance(encoder.embeddings.position_embeddings, LearnedPositions):
        adapted[TABLE] = adapt_positions(weights[TABLE], own[TABLE].shape[0])
    types = weights[TYPES]
    adapted[TYPES] = types if len(types) == 2 else types[:1].expand(2, -1)
    projection = {name: value for name, value in own.items() if name.startswith("feature_projection.")}
    return {**projection, **adapted}


def adapt_positions(table: Tensor, num_rows: int) -> Tensor:
    """Makes a position table (P, D) of another one: ours, or one of text (see the rules above).

    Which of the two it is shows in where its zero row of padding is: the last, or number 1.
    """
    if (table[1] == 0).all() and not (table[-1] == 0).all():
        cls, frames = table[2], table[3:]
    else:
        cls, frames = table[-2], table[:-2]
    rows = frames[torch.arange(num_rows - 2) % len(frames)]
    return torch.cat([rows, cls[None], torch.zeros_like(cls)[None]])


def _locate(source: Path) -> tuple[Path, dict[str, Any]]:
    """The file of weights and the configuration beside it, empty where there is none."""
    if not source.is_dir():
        return source, {}
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (source / name).is_file():
            config = source / "config.json"
            return source / name, json.loads(config.read_text("utf-8")) if config.is_file() else {}
    raise CheckpointError(f"{source}: holds neither model.safetensors nor pytorch_model.bin")


def _longformer_in(weights: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The Longformer's weights among those of a model around it, under their names in a Longformer alone."""
    for prefix in PREFIXES:
        inner = {
            name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)
        }
        if TABLE in inner and TYPES in inner and any(name.startswith(LAYER) for name in inner):
            return inner
    raise CheckpointError(f"{path}: holds no Longformer; its weights are {', '.join(list(weights)[:4])}, …")
