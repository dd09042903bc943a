"""Initialization of the temporal encoder from a pretrained Longformer, trained on text or on video.

Layers have the same names and shapes in both models and are copied. The other differences have rules:

* layers: the first ones are copied; the source must have at least as many as the encoder.
* attention window: no weight depends on it, so that it may differ.
* positions: the encoder's table has one row per frame position, one for [CLS], and a zero row for padding.
  The source's rows are copied in their order to the frame positions; if the encoder has more positions than
  the source, they are repeated, as Longformer's authors extended the table of RoBERTa (Beltagy et al. 2020,
  arXiv 2004.05150, section 5).
* [CLS]: its row is the row of the source's [CLS]. In a table of a VTN this is the row after the frames. In a
  table of a text model, whose row 1 is padding and whose positions start at row 2, it is the first position;
  frames get the positions from the second on.
* token types: frames get the source's first type, [CLS] its second; of one type both get it.
* word embeddings, the pooler, the weights of other heads, and those of a VTN that make tokens of features are
  not copied.

Shapes: P rows of a position table, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slowfast.checkpoint.storage import read_checkpoint, weights_in
from slowfast.checkpoint.weight_names import match_names
from slowfast.checkpoint.weights import load_weights
from slowfast.errors import CheckpointError, first_line
from slowfast.files import parse_json
from vtn.encoder.embeddings import LearnedPositions
from vtn.encoder.temporal_encoder import TemporalEncoder

TABLE = "embeddings.position_embeddings.weight"
TYPES = "embeddings.token_type_embeddings.weight"
LAYER = "encoder.layer."
_BEFORE = ("feature_projection.", "fusion.", "spatial_positions")
"""Names of weights that make tokens of features; a Longformer does not have them."""


def start_from_longformer(encoder: TemporalEncoder, source: str | Path) -> None:
    """Loads the layers and embeddings of a Longformer into ``encoder``, in place.

    Args:
        source: a folder in Hugging Face's format (``config.json`` with ``model.safetensors`` or
            ``pytorch_model.bin``), or a file with the weights of a Longformer or of a VTN.

    Raises:
        CheckpointError: if the source contains no Longformer, or its width, heads or layers do not fit.
    """
    path, config = locate_longformer(source)
    heads = config.get("num_attention_heads", encoder.layers[0].num_heads)
    if heads != encoder.layers[0].num_heads:
        raise CheckpointError(
            f"{source}: the layers have {heads} attention heads, the model's {encoder.layers[0].num_heads}; "
            f"set VTN.LONGFORMER.NUM_ATTENTION_HEADS {heads}"
        )
    weights = _longformer_in(weights_in(read_checkpoint(path), path), path)
    load_weights(encoder, adapt_longformer(weights, encoder), source=str(path))


def adapt_longformer(weights: Mapping[str, Tensor], encoder: TemporalEncoder) -> dict[str, Tensor]:
    """Returns a state dict for ``encoder`` from the state dict of a Longformer, by the rules of this module.

    The weights that make tokens of features are not part of a Longformer and stay unchanged.

    Raises:
        CheckpointError: if the Longformer has fewer layers than the encoder.
    """
    own = encoder.state_dict()
    layers = {int(name.split(".")[2]) for name in weights if name.startswith(LAYER)}
    if len(layers) < len(encoder.layers):
        raise CheckpointError(
            f"the Longformer has {len(layers)} layers, the encoder {len(encoder.layers)}; set "
            f"VTN.LONGFORMER.NUM_HIDDEN_LAYERS to {len(layers)} or less"
        )
    adapted = {name: weights[name] for name in own if name in weights}
    if isinstance(encoder.embeddings.position_embeddings, LearnedPositions):
        table = weights[TABLE]
        # The zero row for padding is the last one in a VTN, row 1 in a text model. Text tables that were made
        # longer may have any numbers in row 1.
        of_text = bool((table[1] == 0).all() or (table[-1] != 0).any())
        adapted[TABLE] = adapt_positions(table, own[TABLE].shape[0], of_text=of_text)
    adapted[TYPES] = weights[TYPES][:2].expand(2, -1)
    kept = {name: value for name, value in own.items() if name.startswith(_BEFORE)}
    return {**adapted, **kept}


def adapt_positions(table: Tensor, num_rows: int, *, of_text: bool = False) -> Tensor:
    """Returns a position table (num_rows, D) from the table (P, D) of a VTN, or of a text model."""
    cls, frames = (table[2], table[3:]) if of_text else (table[-2], table[:-2])
    rows = frames[torch.arange(num_rows - 2) % len(frames)]
    return torch.cat([rows, cls[None], torch.zeros_like(cls)[None]])


def locate_longformer(source: str | Path) -> tuple[Path, dict[str, Any]]:
    """Returns the file of weights and the content of ``config.json``; empty if it does not exist.

    Raises:
        CheckpointError: for a source without weights.
    """
    source = Path(source)
    if not source.exists():
        raise CheckpointError(
            f"VTN.LONGFORMER.CHECKPOINT = {str(source)!r}: does not exist; give the path of "
            "a file of weights, or of a folder in Hugging Face's format"
        )
    if not source.is_dir():
        return source, {}
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (source / name).is_file():
            return source / name, _read_config(source / "config.json")
    raise CheckpointError(
        f"{source}: contains neither model.safetensors nor pytorch_model.bin; name the folder of a model in "
        "Hugging Face's format, or a file of weights"
    )


def _read_config(path: Path) -> dict[str, Any]:
    """Returns the content of a file ``config.json``; empty if it does not exist."""
    try:
        content = parse_json(path.read_text("utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({first_line(error)}); download it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: must be an object of JSON; download it again")
    return content


def _longformer_in(weights: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Returns the weights of the Longformer in a model's state dict, with the prefix of their names removed.

    Raises:
        CheckpointError: if the state dict contains no Longformer.
    """
    inner = match_names(weights, (TABLE, TYPES)).weights
    if not {TABLE, TYPES} <= inner.keys() or not any(name.startswith(LAYER) for name in inner):
        raise CheckpointError(
            f"{path}: contains no Longformer; must have weights such as {TABLE} and {LAYER}0.…, with one "
            f"prefix such as temporal_encoder. or none; has {', '.join(list(weights)[:4])}, …"
        )
    return inner
