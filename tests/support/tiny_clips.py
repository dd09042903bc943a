"""Small clip encoders of `transformers`, with random weights in every parameter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_SIZES: dict[str, Any] = {"hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 32}
TINY_CLIPS: dict[str, dict[str, Any]] = {
    "vjepa2": {
        "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2, "crop_size": 48,
        "frames_per_clip": 8, "pred_hidden_size": 12, "pred_num_attention_heads": 1,
        "pred_num_hidden_layers": 1,
    },
    "videomae": {
        **_SIZES, "num_hidden_layers": 3, "image_size": 48, "num_frames": 8, "use_mean_pooling": False,
    },
    "timesformer": {**_SIZES, "num_hidden_layers": 3, "image_size": 48, "num_frames": 4},
    "vivit": {**_SIZES, "num_hidden_layers": 3, "image_size": 48, "num_frames": 8},
    "videoprism_vision_model": {
        **_SIZES, "num_spatial_layers": 2, "num_temporal_layers": 2, "image_size": 54, "num_frames": 4,
    },
}  # fmt: skip
"""Model type -> changes of its configuration: clips of 4 time steps with 3 × 3 places."""


def full_model(model_type: str, *, auto_class: str = "AutoModel", **changes: Any) -> Any:
    """Returns the model of `transformers` with all its parts, in evaluation mode."""
    import transformers

    config = transformers.AutoConfig.for_model(model_type, **{**TINY_CLIPS[model_type], **changes})
    return randomize(getattr(transformers, auto_class).from_config(config)).eval()


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Draws each parameter, also biases and positions that are initially zero, so that every part counts.

    The scale gives attention that differs clearly between tokens.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        drawn = torch.randn(parameter.shape, generator=generator) * 0.3
        parameter.data = 1 + drawn if "norm" in name and name.endswith("weight") else drawn
    return model


def save(model: Any, folder: Path) -> str:
    """Writes the model into a folder, and returns the name of the backbone."""
    model.save_pretrained(folder)
    return f"hf:{folder}"


def clips_of(frames: int, side: int, *, seed: int = 1, width: int = 0) -> Tensor:
    """Returns two clips (2, 3, t, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, frames, side, width or side, generator=generator)
