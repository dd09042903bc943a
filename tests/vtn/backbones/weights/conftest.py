"""A network with its classifier."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from tests.support.backbones.small_vit import NAME, SMALL


@pytest.fixture(scope="module")
def full_network() -> nn.Module:
    """The network with its classifier, as it is usually published."""
    torch.manual_seed(1)
    return timm.create_model(NAME, num_classes=7, **SMALL)
