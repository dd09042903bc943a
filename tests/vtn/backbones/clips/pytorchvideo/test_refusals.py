"""Names, arguments and frame sizes that pytorchvideo's clip encoders refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from slowfast.errors import ModelError
from tests.support.clips.pytorchvideo import MVIT, build_small, small_pair
from vtn.backbones.build import build_backbone


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("slow_r51", {}, "must be a clip network of pytorchvideo; did you mean slow_r50"),
        ("mvit_base_16", {}, "did you mean mvit_base_16x4"),
        ("slow_r50", {"depth": 50}, "unknown keys depth; without its head the network has .*stem_dim_out"),
        ("slow_r50", {"head_activation": None}, "unknown keys head_activation"),
        ("slow_r50", {"dropout_rate": 0.1}, "unknown keys dropout_rate"),
        ("mvit_base_16x4", {"num_frames": 8}, "unknown keys num_frames.*temporal_size"),
        ("slow_r50", {"model_depth": 101}, "model_depth = 101: must not be set, .*slow_r50 determines it"),
        ("slow_r50", {"num_frames": 2.5}, "num_frames = 2.5: must be an integer"),
        ("csn_r101", {"num_frames": 28}, "num_frames = 28: must be a multiple of the frames per time step"),
        ("slowfast_r50", {"num_frames": 30}, "must encode clips of 30 frames"),
        ("slow_r50", {"stem_dim_out": "wide"}, "with {'stem_dim_out': 'wide'}: TypeError"),
    ],
)  # fmt: skip
def test_names_and_arguments_that_do_not_exist_are_refused(
    name: str, options: dict[str, Any], message: str
) -> None:
    with torch.device("meta"), pytest.raises(ModelError, match=message):
        build_backbone(f"pytorchvideo:{name}", pretrained=False, options=options)


def test_poolings_are_refused() -> None:
    with pytest.raises(ModelError, match=r"POOLING = 'mean': must be '' for pytorchvideo"):
        build_backbone("pytorchvideo:slow_r50", pretrained=False, options={}, pooling="mean")


def test_frames_of_another_size_are_refused_for_mvit_only() -> None:
    assert "VTN.BACKBONE.ARGS.spatial_size" in build_small("mvit_base_16x4", **MVIT).size_problem(64, 64)
    assert small_pair("slow_r50")[1].size_problem(200, 300) == ""
