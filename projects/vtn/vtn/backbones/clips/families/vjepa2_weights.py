"""The names of V-JEPA 2 and 2.1 weights in Meta's checkpoints, and their names in ``transformers``' model.

A checkpoint of Meta's is a dictionary with the encoder's weights under ``ema_encoder``, ``target_encoder`` or
``encoder``, the predictor's, and the optimizer's state. Each name of the encoder has the prefix
``module.backbone.``. The names then map as follows (blocks are counted from 0):

============================================  ========================================================
Meta                                          ``transformers``
============================================  ========================================================
``patch_embed.proj``                          ``encoder.embeddings.patch_embeddings.proj``
``blocks.N.norm1``, ``norm2``                 ``encoder.layer.N.norm1``, ``norm2``
``blocks.N.attn.qkv``                         ``encoder.layer.N.attention.query``, ``key``, ``value``
``blocks.N.attn.proj``                        ``encoder.layer.N.attention.proj``
``blocks.N.mlp.fc1``, ``fc2``                 ``encoder.layer.N.mlp.fc1``, ``fc2``
``norm`` (V-JEPA 2)                           ``encoder.layernorm``
the last of ``norms_block`` (V-JEPA 2.1)      ``encoder.layernorm``
``video_mod_embed`` (V-JEPA 2.1)              ``video_embedding``, see :class:`VJEPA21Clips`
============================================  ========================================================

Left out: ``pos_embed`` (a table that models with rotary positions do not use), and of V-JEPA 2.1
``patch_embed_img`` and ``img_mod_embed`` (for single images) and the other ``norms_block`` (norms of earlier
blocks, which its training reads).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from slowfast.errors import CheckpointError

_PREFIX = re.compile(r"^(?:_orig_mod\.|module\.|backbone\.)+")
_NAMES = (
    (re.compile(r"^patch_embed\.proj\."), "encoder.embeddings.patch_embeddings.proj."),
    (re.compile(r"^blocks\.(\d+)\.attn\."), r"encoder.layer.\1.attention."),
    (re.compile(r"^blocks\.(\d+)\."), r"encoder.layer.\1."),
    (re.compile(r"^norm\."), "encoder.layernorm."),
    (re.compile(r"^video_mod_embed$"), "video_embedding"),
)
_UNUSED = re.compile(r"^(pos_embed$|patch_embed_img\.|img_mod_embed$|norms_block\.)")
_NORM = re.compile(r"^norms_block\.(\d+)\.")
_VERSIONS = {
    "2": "hf:FOLDER or hf:vjepa2, with the sizes in VTN.BACKBONE.ARGS",
    "2.1": "vjepa2_1_vit_base_384, _large_384, _giant_384 or _gigantic_384",
}


class RenamedWeights(NamedTuple):
    """Weights with the names of ``transformers``, and the names of those that were left out."""

    weights: dict[str, Tensor]
    left_out: tuple[str, ...]


def rename_meta_weights(weights: Mapping[str, Tensor], version: str) -> RenamedWeights:
    """Returns the encoder's weights of a checkpoint of Meta's under the names of ``transformers``.

    Weights with other names are returned as they are.

    Args:
        weights: tensors by their names in the file.
        version: ``2`` or ``2.1``, the version of the network that they are for.

    Raises:
        CheckpointError: if they are of the other version, or a fused weight cannot be divided by three.
    """
    plain = {_PREFIX.sub("", name): tensor for name, tensor in weights.items()}
    if not any(name.endswith(".attn.qkv.weight") for name in plain):
        return RenamedWeights(dict(weights), ())
    found = "2.1" if any(name == "video_mod_embed" or _NORM.match(name) for name in plain) else "2"
    if found != version:
        raise CheckpointError(
            f"VTN.BACKBONE.CHECKPOINT: contains weights of V-JEPA {found}, whose positions differ from those "
            f"of V-JEPA {version}: must be for a network of that version; set VTN.BACKBONE.NAME "
            f"{_VERSIONS[found]}"
        )
    last = max((int(match[1]) for name in plain if (match := _NORM.match(name))), default=-1)
    renamed: dict[str, Tensor] = {}
    left_out: list[str] = []
    for name, tensor in plain.items():
        name = re.sub(rf"^norms_block\.{last}\.", "norm.", name)
        if _UNUSED.match(name):
            left_out.append(name)
        else:
            renamed.update(_split_fused(_renamed(name), tensor))
    return RenamedWeights(renamed, tuple(left_out))


def _renamed(name: str) -> str:
    for pattern, replacement in _NAMES:
        if pattern.search(name):
            return pattern.sub(replacement, name)
    return name


def _split_fused(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Returns the weight or bias of queries, keys and values separately; another weight as it is."""
    if ".attention.qkv." not in name:
        return {name: tensor}
    if len(tensor) % 3:
        raise CheckpointError(
            f"VTN.BACKBONE.CHECKPOINT: {name} has {len(tensor)} rows: must be a multiple of 3, for queries, "
            "keys and values"
        )
    parts = torch.chunk(tensor, 3)
    names = ("query", "key", "value")
    return {name.replace(".qkv.", f".{part}."): rows for part, rows in zip(names, parts, strict=True)}
