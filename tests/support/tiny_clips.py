"""Small clip encoders of `transformers`, with random weights in every parameter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vtn.backbones.base import Backbone
from vtn.backbones.build import build_backbone

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
FAMILIES = list(TINY_CLIPS)
STEPS, PLACES = 4, (3, 3)


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


def side_of(model_type: str) -> int:
    """Returns the height and width of frames of 3 × 3 places."""
    return 54 if model_type.startswith("videoprism") else 48


def build_clips(name: str, **options: Any) -> Backbone:
    """Returns the backbone of a model type or a folder, in evaluation mode."""
    built = build_backbone(name, pretrained=Path(name.removeprefix("hf:")).is_dir(), options=options)
    built.network.eval()
    return built


def their_features(model: Any, model_type: str, clips: Tensor, **arguments: Any) -> Tensor:
    """Returns the features (N, s, places, F) in the output of the full model for clips (N, 3, t, H, W)."""
    frames = clips.transpose(1, 2)
    if model_type == "vjepa2":
        arguments["skip_predictor"] = True
    with torch.no_grad():
        tokens = model(frames, **arguments).last_hidden_state
    return by_step(tokens, model_type)


def by_step(tokens: Tensor, model_type: str) -> Tensor:
    """Arranges tokens (N, L, F) of each library model's order as (N, s, places, F), without class tokens."""
    places = PLACES[0] * PLACES[1]
    if model_type == "timesformer":  # place by place, after a class token
        return tokens[:, 1:].unflatten(1, (places, -1)).transpose(1, 2)
    return tokens[:, model_type == "vivit" :].unflatten(1, (-1, places))


def features_of(built: Backbone, clips: Tensor, stage: int = 0) -> Tensor:
    """Returns the features (N, s, places, F) of a backbone's map."""
    assert built.feature_map is not None
    with torch.no_grad():
        found = built.feature_map(built.network, clips, stage)
    assert found.class_token is None
    return found.places.flatten(2, 3)
