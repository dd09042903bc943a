"""The registry of models, and building the model that a configuration names."""

from __future__ import annotations

from typing import Any

from fvcore.common.config import CfgNode
from torch import nn

from slowfast.config.derived import require_config
from slowfast.errors import ConfigError
from slowfast.models.adapter import adapt_class, fill_in_defaults
from slowfast.registry import Registry, import_user_modules

_FOREIGN = {
    "mvit": "PTVMViT is MViT version 1, and version 2 is not available",
    "maskmvit": "training without labels is not supported",
    "contrastivemodel": "training without labels is not supported",
    "ptvcsn": "use PTVX3D, whose convolutions are channel-separated as well",
    "ptvr2plus1d": "use PTVResNet with MODEL.ARCH i3d, whose convolutions are not divided",
}
"""Models of PySlowFast that are not here -> the remedy."""

MODEL_REGISTRY: Registry[Any] = Registry("model", "MODEL.MODEL_NAME", _FOREIGN)
"""Subclasses of ``torch.nn.Module`` by name.

A class is built by its class method ``from_config(cfg, *, fetch_weights) -> nn.Module``. A class without one
is built by its constructor, whose only required argument must be ``cfg``. ``forward`` takes ``frames``
(B, 3, T, H, W), one tensor and not PySlowFast's list of them, and may take ``positions`` and ``mask``; see
:class:`slowfast.models.capabilities.VideoModel`. Attributes of it that an instance lacks are set by
:func:`slowfast.models.adapter.fill_in_defaults`.
"""


def build_model(cfg: CfgNode, *, fetch_weights: bool = True) -> nn.Module:
    """Builds the model that ``cfg.MODEL.MODEL_NAME`` names, on the CPU and unwrapped.

    Args:
        fetch_weights: False where a checkpoint is loaded next: published weights of parts of the model are
            then not downloaded, whatever ``cfg`` contains.

    Returns:
        A :class:`slowfast.models.capabilities.VideoModel`.

    Raises:
        ConfigError: for an unknown name, and for a class that does not have the form described above.
        ModelError: where the model cannot be built as configured.

    >>> from slowfast.config import load_config
    >>> small = ["VTN.BACKBONE.NAME", "test_vit", "VTN.BACKBONE.PRETRAINED", "False"]
    >>> cfg = load_config("VIT_B_VTN", [*small, "MODEL.NUM_CLASSES", "5"])
    >>> build_model(cfg).num_classes
    5
    """
    require_config(cfg)
    import_user_modules(cfg.IMPORTS)
    name = cfg.MODEL.MODEL_NAME
    adapted = adapt_class(MODEL_REGISTRY.get(name), name)
    if hasattr(adapted, "from_config"):
        model = adapted.from_config(cfg, fetch_weights=fetch_weights)
    else:
        model = adapted(cfg)
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f"MODEL.MODEL_NAME = {name!r}: must be a class that the framework can build; from_config must "
            "return the model, and has returned another object"
        )
    fill_in_defaults(
        model,
        num_classes=cfg.MODEL.NUM_CLASSES,
        mean=tuple(cfg.DATA.MEAN),
        std=tuple(cfg.DATA.STD),
        num_frames=cfg.DATA.NUM_FRAMES,
    )
    return model
