"""Clip encoders of Hugging Face ``transformers``: the choice of the family, and what it requires.

V-JEPA 2, VideoMAE, TimeSformer, ViViT and VideoPrism's vision encoder. In all of them attention over time
goes in both directions, so each feature depends on the whole clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Any

from slowfast.errors import ModelError
from slowfast.log import get_logger
from vtn.backbones.base import Backbone, Triple
from vtn.backbones.hugging_face.files import interpolation_in, is_model_type, published_model, random_model
from vtn.backbones.hugging_face.preprocessing import normalization_in, with_switches
from vtn.backbones.maps.feature_map import own_map

logger = get_logger(__name__)

_IMAGENET: tuple[Triple, Triple] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Family:
    """A family of clip encoders.

    Attributes:
        network: ``module:class`` of the network in this package's families, a :class:`ClipTransformer`.
        normalization: mean and standard deviation of pixels scaled to 0 … 1, where no file states them.
        size: entry of the configuration with the side of the frames in pixels.
        unused: first parts of the names of the model's weights that are not used.
        arguments: keyword arguments of the model's constructor.
        renamed: regular expression -> replacement, for names in published files of larger models.
    """

    network: str
    normalization: tuple[Triple, Triple]
    size: str = "image_size"
    unused: tuple[str, ...] = ("pooler.",)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)


# The normalization of the published processors: of VideoMAE and V-JEPA 2 ImageNet's, of TimeSformer 0.45 and
# 0.225; ViViT's frames are scaled to -1 … 1 and VideoPrism's to 0 … 1.
FAMILIES: Mapping[str, Family] = {
    "vjepa2": Family(
        "vjepa2:VJEPA2Clips", _IMAGENET, size="crop_size",
        unused=("predictor.", "pooler.", "classifier."),
    ),
    "videomae": Family("videomae:VideoMAEClips", _IMAGENET, unused=("classifier.",)),
    "timesformer": Family("timesformer:TimesformerClips", ((0.45,) * 3, (0.225,) * 3)),
    "vivit": Family(
        "vivit:VivitClips", ((0.5,) * 3, (0.5,) * 3), arguments={"add_pooling_layer": False}
    ),
    "videoprism_vision_model": Family(
        "videoprism:VideoPrismClips", ((0.0,) * 3, (1.0,) * 3),
        renamed={r"^video_model\.vision_model\.": ""},  # models of videos and text
    ),
}  # fmt: skip
"""Model type -> family."""

# Entries of configurations of V-JEPA 2.1. Versions of transformers without it ignore them.
_VJEPA21_ENTRIES = ("use_rope_interleave", "interpolate_rope", "use_modality_embeddings")


def build_clip_encoder(
    name: str, config: Any, *, pretrained: bool, resize_positions: bool, pooling: str
) -> Backbone:
    """Returns the clip encoder with that configuration; see :func:`vtn.backbones.hugging_face.build.build`.

    Raises:
        ModelError: for a pooling, a configuration that cannot be computed, and weights that cannot be
            downloaded.
    """
    if pooling:
        raise ModelError(
            f"VTN.BACKBONE.POOLING = {pooling!r}: must be '' for the clip encoder hf:{name}, whose feature "
            "of a time step is the mean over its places"
        )
    family = FAMILIES[config.model_type]
    check_clip_configuration(config, family, f"hf:{name}")
    auto_class = "AutoModelForVideoClassification" if _norm_in_classifier(config) else "AutoModel"
    model = (
        published_model(
            name, config, auto_class=auto_class, unused=family.unused,
            files="preprocessor_config.json or video_preprocessor_config.json",
            key_mapping=dict(family.renamed) or None, **family.arguments,
        )
        if pretrained
        else random_model(config, name, auto_class=auto_class, **family.arguments)
    )  # fmt: skip
    build_network = resolve_name(f"vtn.backbones.clips.families.{family.network}")
    network = build_network(model, config, resize_positions=resize_positions)
    processor = _preprocessing(name, family)
    mean, std = _normalization(processor, family)
    return Backbone(
        network,
        config.hidden_size,
        mean,
        std,
        image_size=getattr(config, family.size),
        fixed_size=not network.resize_positions,
        size_multiple=network.patch,
        resize_hint="set VTN.BACKBONE.ARGS.dynamic_img_size True (position embeddings are resized)",
        interpolation=interpolation_in(processor),
        classifier=tuple(part.rstrip(".") for part in ("classifier.", "head.", *family.unused)),
        feature_map=own_map,
        clip=network.clip,
    )


def check_clip_configuration(config: Any, family: Family, backbone: str) -> None:
    """Raises ``ModelError`` for clips, frames or patches that the network cannot have."""
    if found := [entry for entry in _VJEPA21_ENTRIES if getattr(config, entry, False)]:
        raise ModelError(
            f"backbone {backbone}: its configuration has {found[0]}, so its weights are of V-JEPA 2.1, whose "
            "positions hf: names do not compute: must be V-JEPA 2; use VTN.BACKBONE.NAME "
            "vjepa2_1_vit_base_384, or another size, with Meta's weights"
        )
    steps, rows, columns = _tubelet_of(config)
    frames = getattr(config, "frames_per_clip", None) or config.num_frames
    side = getattr(config, family.size)
    if not isinstance(side, int) or rows != columns:
        raise ModelError(
            f"backbone {backbone}: {family.size} = {side} with patches of {rows}×{columns} pixels: must be "
            "squares"
        )
    if side % rows:
        raise ModelError(
            f"backbone {backbone}: {family.size} = {side}: must be a multiple of {rows}, the side of a patch"
        )
    if frames < steps or frames % steps:
        raise ModelError(
            f"backbone {backbone}: clips of {frames} frames: must be a multiple of {steps}, the tubelet"
        )


def _tubelet_of(config: Any) -> tuple[int, int, int]:
    """Returns the frames, rows and columns of pixels of a tubelet."""
    tubelet = getattr(config, "tubelet_size", 1)
    if isinstance(tubelet, int):
        patch = config.patch_size
        return (tubelet, *(patch if isinstance(patch, list | tuple) else (patch, patch)))
    return tuple(tubelet)  # type: ignore[return-value]


def _norm_in_classifier(config: Any) -> bool:
    """Returns whether the model's final norm is part of its classifier, as in fine-tuned VideoMAE models."""
    return config.model_type == "videomae" and config.use_mean_pooling


def _preprocessing(name: str, family: Family) -> Mapping[str, Any]:
    """Returns the content of the file with the preprocessing of videos; empty if it does not exist."""
    from transformers.video_processing_utils import BaseVideoProcessor

    if is_model_type(name):
        return {}
    try:
        return BaseVideoProcessor.get_video_processor_dict(name)[0]
    except OSError:
        logger.warning(
            "backbone hf:%s: has no preprocessor_config.json or video_preprocessor_config.json; frames are "
            "normalized with mean %s and standard deviation %s",
            name, *family.normalization,
        )  # fmt: skip
        return {}


def _normalization(processor: Mapping[str, Any], family: Family) -> tuple[Triple, Triple]:
    """Returns mean and standard deviation of pixels scaled to 0 … 1.

    ViViT's files also shift pixels to -1 … 1 (``offset``, formerly ``do_zero_centering``); some of them then
    normalize a second time. The training scaled to -1 … 1 once (``zero_centering`` in scenic's
    configurations), which is what mean and deviation of 0.5 give.
    """
    if not processor or processor.get("offset") or processor.get("do_zero_centering"):
        return family.normalization
    return normalization_in(with_switches(processor), family.normalization)
