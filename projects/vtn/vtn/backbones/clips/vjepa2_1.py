"""V-JEPA 2.1 encoders under the names of Meta's hub, with Meta's weights.

The networks consist of the modules of ``transformers``' V-JEPA 2 with the differences that
:class:`vtn.backbones.clips.families.vjepa2.VJEPA21Clips` lists. Meta publishes the weights as ``.pt`` files,
whose names :mod:`vtn.backbones.clips.families.vjepa2_weights` maps.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from torch import nn

from slowfast.errors import ModelError
from vtn.backbones.base import BACKBONE_REGISTRY, backbone_from_attributes
from vtn.backbones.published import download_once
from vtn.backbones.weight_files import load_backbone_weights

_URL = "https://dl.fbaipublicfiles.com/vjepa2"


class Size(NamedTuple):
    """The size of a published encoder, and its file of weights.

    Attributes:
        hidden_size: F.
        num_hidden_layers, num_attention_heads: blocks, and heads of each.
        mlp_ratio: width of the hidden layer of a block, divided by F.
        file: name of the file of weights.
    """

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    mlp_ratio: float
    file: str


SIZES = {
    "vjepa2_1_vit_base_384": Size(768, 12, 12, 4.0, "vjepa2_1_vitb_dist_vitG_384.pt"),
    "vjepa2_1_vit_large_384": Size(1024, 24, 16, 4.0, "vjepa2_1_vitl_dist_vitG_384.pt"),
    "vjepa2_1_vit_giant_384": Size(1408, 40, 22, 48 / 11, "vjepa2_1_vitg_384.pt"),
    "vjepa2_1_vit_gigantic_384": Size(1664, 48, 26, 64 / 13, "vjepa2_1_vitG_384.pt"),
}
"""Name on Meta's hub -> size (Meta's repository ``vjepa2``, ``src/hub/backbones.py``)."""


def build_vjepa2_1(name: str, pretrained: bool = True, **options: Any) -> nn.Module:
    """Returns the encoder of that name for clips of 64 frames of 384 pixels, or of another size.

    Args:
        pretrained: load Meta's weights.
        options: changes of the configuration, a ``VJEPA2Config`` of ``transformers``, such as
            ``frames_per_clip`` and ``crop_size``.

    Raises:
        ModelError: for unknown options, values that cannot be computed, weights that cannot be downloaded.
        CheckpointError: for a file of weights that does not fit.
    """
    from transformers import VJEPA2Config, VJEPA2Model

    from vtn.backbones.clips.families.vjepa2 import VJEPA21Clips
    from vtn.backbones.clips.hugging_face_clips import FAMILIES, check_clip_configuration
    from vtn.backbones.hugging_face.files import with_options

    # The predictor is removed; it is kept small until then.
    predictor = {"pred_hidden_size": 12, "pred_num_attention_heads": 1, "pred_num_hidden_layers": 1}
    size = {key: value for key, value in SIZES[name]._asdict().items() if key != "file"}
    base = VJEPA2Config(crop_size=384, frames_per_clip=64, **size, **predictor)
    config = with_options(base, options, name)
    check_clip_configuration(config, FAMILIES["vjepa2"], name)
    try:
        network = VJEPA21Clips(VJEPA2Model(config), config)
    except ValueError as error:
        raise ModelError(f"backbone {name}: {error}; see VTN.BACKBONE.ARGS") from error
    network.frame_mean, network.frame_std = FAMILIES["vjepa2"].normalization  # type: ignore[assignment]
    network.feature_dim, network.image_size = config.hidden_size, config.crop_size
    network.size_multiple = config.patch_size
    if pretrained:
        load_backbone_weights(
            backbone_from_attributes(network, name), download_once(published_url(name), name)
        )
    return network


def published_url(name: str) -> str:
    """Returns the address of Meta's weights."""
    return f"{_URL}/{SIZES[name].file}"


for _name in SIZES:
    BACKBONE_REGISTRY.register(_name)(partial(build_vjepa2_1, _name))
