"""The shipped configurations have the sizes given in the paper, counted on the meta device."""

import pytest
import torch

from slowfast.config import load_config
from slowfast.models import build_model


@pytest.mark.parametrize(
    ("name", "millions"),
    [("VIT_B_VTN", 114), ("VIT_B_VTN_1LAYER", 96), ("DEIT_TI_VTN", 10), ("R50_VTN", 168), ("R101_VTN", 187)],
)
def test_a_configuration_has_the_papers_number_of_parameters(name: str, millions: int) -> None:
    with torch.device("meta"):
        model = build_model(load_config(name, ["VTN.BACKBONE.PRETRAINED", "False"]))
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == millions
