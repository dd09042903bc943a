"""Backbones of detectron2 (imported only here): one of its feature maps, averaged over the picture.

N images, C channels, h w cells of a map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from slowfast.errors import ModelError
from vtn.backbones.base import Backbone
from vtn.backbones.published import fetch


class Detectron2Backbone(nn.Module):
    """Averages a named feature map of a detectron2 backbone.

    Args:
        model: maps images to a dictionary of maps (N, C, h, w).
        feature: which of them.
        blue_first: whether it wants the channels of its images in the order blue, green, red.
    """

    def __init__(self, model: nn.Module, feature: str, *, blue_first: bool) -> None:
        super().__init__()
        self.model = model
        self.feature = feature
        self.blue_first = blue_first

    @property
    def wrapped(self) -> nn.Module:
        """The network whose names published weights have."""
        return self.model

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N, 3, H, W), red first, to (N, C)."""
        if self.blue_first:
            images = images.flip(1)
        step = self.model.size_divisibility or 1
        height, width = images.shape[-2:]
        images = F.pad(
            images, (0, -width % step, 0, -height % step)
        )  # below and on the right, as detectron2 does
        return self.model(images)[self.feature].mean((2, 3))


def build(name: str, *, pretrained: bool, options: Mapping[str, Any], pooling: str) -> Backbone:
    """Returns the backbone of a detectron2 configuration; see :func:`vtn.backbones.build.build_backbone`.

    Args:
        name: a YAML file, or a name in detectron2's model zoo.
        options: ``feature``, the name of a map (default: the coarsest one), and ``opts``, a list
            ``[KEY, VALUE, …]`` laid over detectron2's configuration.

    Raises:
        ModelError: where detectron2 is not installed, or the backbone cannot be built as asked.
    """
    try:
        from detectron2 import model_zoo
        from detectron2.config import get_cfg
        from detectron2.modeling import build_backbone
    except ImportError as error:
        raise ModelError(
            f"backbone detectron2:{name}: detectron2 is not installed ({error}); see "
            "https://detectron2.readthedocs.io/tutorials/install.html, or take another backbone"
        ) from error
    unknown = set(options) - {"feature", "opts"}
    if unknown or pooling not in ("", "mean"):
        raise ModelError(
            f"backbone detectron2:{name}: takes VTN.BACKBONE.ARGS feature and opts, and averages its maps; "
            f"got {', '.join(sorted(unknown)) or f'VTN.BACKBONE.POOLING {pooling}'}"
        )
    cfg = get_cfg()
    try:
        cfg.merge_from_file(name if Path(name).is_file() else model_zoo.get_config_file(name))
        cfg.merge_from_list(list(options.get("opts", ())))
    except (RuntimeError, KeyError, AssertionError, OSError) as error:
        raise ModelError(
            f"backbone detectron2:{name}: {error}; give a YAML file or a name of its model zoo"
        ) from error
    if pretrained:
        model = fetch(lambda: _with_weights(cfg), backbone=f"detectron2:{name}", remedy=_remedy(cfg))
    else:
        model = build_backbone(cfg)
    shapes = model.output_shape()
    feature = options.get("feature") or max(shapes, key=lambda known: shapes[known].stride or 0)
    if feature not in shapes:
        raise ModelError(
            f"backbone detectron2:{name}: has no map {feature!r}; VTN.BACKBONE.ARGS.feature may be "
            f"{', '.join(shapes)}"
        )
    blue_first = cfg.INPUT.FORMAT == "BGR"
    order = slice(None, None, -1 if blue_first else 1)
    return Backbone(
        Detectron2Backbone(model, feature, blue_first=blue_first),
        shapes[feature].channels,
        _fractions(cfg.MODEL.PIXEL_MEAN[order]),
        _fractions(cfg.MODEL.PIXEL_STD[order]),
    )


def _with_weights(cfg: Any) -> nn.Module:
    """The backbone of the whole detector, loaded as detectron2 loads it."""
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.modeling import build_model

    detector = build_model(cfg)
    DetectionCheckpointer(detector).load(cfg.MODEL.WEIGHTS)
    return detector.backbone


def _fractions(values: Sequence[float]) -> tuple[float, float, float]:
    """Levels of 0 … 255 as fractions of full brightness."""
    red, green, blue = (value / 255 for value in values)
    return red, green, blue


def _remedy(cfg: Any) -> str:
    return (
        f"Its weights are {cfg.MODEL.WEIGHTS}. Get the file on a machine with a network, and set "
        "VTN.BACKBONE.ARGS.opts \"['MODEL.WEIGHTS', 'FILE']\". VTN.BACKBONE.PRETRAINED False starts from "
        "random weights."
    )
