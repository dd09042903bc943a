"""Golden outputs of the original VTN, and small models to compare with them.

``golden/`` holds outputs of the original code with random weights (evaluation mode, float32); its manifest
describes how they were computed. B clips, T frames, D width of the encoder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from vtn import VTN

GOLDEN = Path(__file__).parent / "golden"
VARIANT = json.loads((GOLDEN / "manifest.json").read_text())["variants"]["a"]
CASES = {case["key"]: case for case in VARIANT["cases"]}


@dataclass(frozen=True)
class Golden:
    """The arrays and weights of the golden files, with conversions to inputs of the model."""

    arrays: dict[str, np.ndarray]
    weights: dict[str, Tensor]

    def inputs(self, case: str) -> tuple[Tensor, Tensor]:
        """Returns frames (B, 3, T, H, W), or features (B, T, D) for the long cases, and positions (B, T)."""
        entry = CASES[case]
        positions = torch.from_numpy(self.arrays[f"{entry['input_from']}.frame_index"].astype(np.int64))
        if entry["kind"] == "features":
            return self.tensor("feature_bank")[: entry["F"]][None].float() / 32, positions
        ids = torch.from_numpy(self.arrays[f"{entry['input_from']}.frame_ids"].astype(np.int64))
        frames = (self.tensor("frame_bank")[ids].float() - 128) / 64  # (B, T, 3, H, W)
        return frames.transpose(1, 2), positions

    def tensor(self, name: str) -> Tensor:
        """Returns the array of that name."""
        return torch.from_numpy(self.arrays[name])

    def model(self, window: list[int], **changes: Any) -> VTN:
        """Returns the small model in evaluation mode, with the golden weights."""
        model = small_model(attention_window=window, **changes)
        model.load_state_dict(self.weights)
        return model.eval()


def small_model(**changes: Any) -> VTN:
    """Returns the architecture of the golden files: a ViT of 2 layers and width 48, an encoder of 3 layers.

    ``changes`` are arguments of VTN by flat names.
    """
    config = VARIANT["config"]
    backbone = VisionTransformer(
        img_size=config["img_size"],
        patch_size=config["patch_size"],
        embed_dim=config["embed_dim"],
        depth=config["vit_depth"],
        num_heads=config["vit_heads"],
        num_classes=0,
    )
    arguments: dict[str, Any] = {
        "num_classes": config["num_classes"],
        "hidden_dim": config["embed_dim"],
        "num_layers": config["temporal_layers"],
        "num_heads": config["temporal_heads"],
        "intermediate_size": config["intermediate_size"],
        "max_position_embeddings": config["max_position_embeddings"],
        "mlp_dim": config["mlp_dim"],
    }
    return VTN(backbone, **{**arguments, **changes})


def load_golden() -> Golden:
    """Reads the golden files."""
    with np.load(GOLDEN / "variant_a_cases.npz") as file:
        arrays = dict(file)
    return Golden(arrays, load_file(GOLDEN / "variant_a_weights.safetensors"))
