"""Batch norms folded into convolutions."""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn

from slowfast.models.inference.folding import fold_batch_norms


def with_statistics(network: nn.Module) -> nn.Module:
    """Gives all batch norms statistics and weights that change their input."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, 0, 0.1)
    return network.eval().requires_grad_(False)


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


def test_norms_of_real_networks_are_folded_without_changing_the_result() -> None:
    """timm's norms apply an activation of their own; ResNets have plain ones."""
    images = torch.randn(2, 3, 64, 64)
    for name in ("efficientnet_lite0", "resnet10t"):
        network = with_statistics(timm.create_model(name, num_classes=0))
        expected, before = network(images), norms(network)
        assert fold_batch_norms(network, lambda network=network: network(images)) == before
        assert norms(network) == 0
        torch.testing.assert_close(network(images), expected, atol=1e-4, rtol=1e-4)


def test_the_bias_of_a_convolution_is_scaled_with_its_weight() -> None:
    conv = nn.Conv2d(3, 4, 3)
    network, images = with_statistics(nn.Sequential(conv, nn.BatchNorm2d(4))), torch.randn(2, 3, 8, 8)
    assert conv.bias is not None
    conv.bias.normal_()
    expected = network(images)
    assert fold_batch_norms(network, lambda: network(images)) == 1
    torch.testing.assert_close(network(images), expected)


class _Branch(nn.Module):
    """A convolution whose output is also used without its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        found = self.conv(images)
        return self.norm(found) + found.sigmoid()


def test_weights_are_restored_where_the_result_would_change() -> None:
    network, images = with_statistics(_Branch()), torch.randn(1, 3, 8, 8)
    expected = network(images)
    assert fold_batch_norms(network, lambda: network(images)) == 0
    assert norms(network) == 1
    assert torch.equal(network(images), expected)


def test_a_convolution_that_is_used_twice_is_not_folded() -> None:
    conv, images = nn.Conv2d(3, 3, 3, padding=1), torch.randn(1, 3, 8, 8)
    network = with_statistics(nn.Sequential(conv, nn.BatchNorm2d(3), conv, nn.BatchNorm2d(3)))
    expected = network(images)
    assert fold_batch_norms(network, lambda: network(images)) == 0
    assert torch.equal(network(images), expected)
