"""The networks that pytorchvideo publishes: their sizes, their files of weights, and what they refuse."""

from __future__ import annotations

import logging
import math
import urllib.error
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from slowfast.errors import CheckpointError, ModelError
from tests.support.clips.pytorchvideo import MVIT, SMALL, build_small, clips_for, places_of, small_pair
from vtn.backbones.build import build_backbone
from vtn.backbones.clips.pytorchvideo_clips import RECIPES


class Published(NamedTuple):
    """The facts about a network that its authors publish, or that follow from its name.

    Parameters (10⁶, head included) are those of pytorchvideo's model zoo, and for MViT of Fan et al. 2021.
    Multiply-adds (10⁹ per clip) are those of the same sources, and for X3D of PySlowFast's model zoo. Other
    entries of pytorchvideo's are 1 to 9 % above a count of convolutions and matrix products.
    """

    parameters: float
    head: int
    frames: int
    tubelet: int
    rate: float
    size: int
    width: int
    gmacs: float | None = None


X3D_HEAD = 432 * 2048 + 2048 * 400 + 400
PUBLISHED = {
    "c2d_r50": Published(24.33, 819_600, 8, 2, 3.75, 224, 2048),
    "i3d_r50": Published(28.04, 819_600, 8, 2, 3.75, 224, 2048),
    "slow_r50": Published(32.45, 819_600, 8, 1, 3.75, 256, 2048, 54.52),
    "slowfast_r50": Published(34.57, 922_000, 32, 4, 15.0, 256, 2304, 65.71),
    "slowfast_r101": Published(62.83, 922_000, 32, 4, 15.0, 224, 2304),
    "slowfast_16x8_r101_50_50": Published(53.77, 922_000, 64, 4, 15.0, 224, 2304),
    "csn_r101": Published(22.21, 819_600, 32, 8, 15.0, 224, 2048),
    "r2plus1d_r50": Published(28.11, 819_600, 16, 4, 7.5, 224, 2048),
    "x3d_xs": Published(3.79, X3D_HEAD, 4, 1, 2.5, 160, 432, 0.60),
    "x3d_s": Published(3.79, X3D_HEAD, 13, 1, 5.0, 160, 432, 1.96),
    "x3d_m": Published(3.79, X3D_HEAD, 16, 1, 6.0, 224, 432, 4.73),
    "x3d_l": Published(6.15, X3D_HEAD, 16, 1, 6.0, 312, 432, 18.37),
    "mvit_base_16x4": Published(36.6, 307_600, 16, 2, 7.5, 224, 768, 70.5),
    "mvit_base_32x3": Published(36.6, 307_600, 32, 2, 10.0, 224, 768, 170),
}


@pytest.mark.parametrize("name", PUBLISHED)
@torch.no_grad()
def test_published_configurations_have_their_clips(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytorchvideo.models.vision_transformers.init_net_weights", lambda *_, **__: None)
    facts = PUBLISHED[name]
    with torch.device("meta"):
        built = build_small(name)
        with FlopCounterMode(display=False) as counter:
            shape = places_of(built, torch.zeros(1, 3, facts.frames, facts.size, facts.size)).shape
    own = sum(parameter.numel() for parameter in built.network.parameters())
    assert (own + facts.head) / 1e6 == pytest.approx(facts.parameters, abs=0.02)
    if facts.gmacs is not None:
        assert counter.get_total_flops() / 2e9 == pytest.approx(facts.gmacs, rel=0.01)
    side = math.ceil(facts.size / 32)
    assert shape == (1, facts.frames // facts.tubelet, side, side, facts.width)
    assert built.clip is not None
    assert (built.clip.frames, built.clip.tubelet) == (facts.frames, facts.tubelet)
    assert (built.clip.fps, built.feature_dim) == (facts.rate, facts.width)
    assert (built.mean, built.std) == ((0.45,) * 3, (0.225,) * 3)
    assert built.fixed_size == name.startswith("mvit")


def test_each_recipe_is_tested() -> None:
    assert list(PUBLISHED) == list(RECIPES)


class TestWeights:
    """Weights of whole networks, as pytorchvideo publishes them."""

    @pytest.mark.parametrize("name", ["slow_r50", "x3d_xs", "mvit_base_16x4"])
    @torch.no_grad()
    def test_a_file_of_the_whole_network_is_loaded_without_the_head(
        self, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        whole, built = small_pair(name)
        path = tmp_path / "WHOLE.pyth"
        torch.save({"model_state": whole.state_dict(), "epoch": 3, "cfg": "TRAIN:\n"}, path)
        with caplog.at_level(logging.INFO):
            loaded = build_backbone(
                f"pytorchvideo:{name}", pretrained=True, options=SMALL[name], checkpoint=path
            )
        clips = clips_for(loaded, size=32)
        torch.testing.assert_close(loaded.network.eval()(clips), built.network(clips))
        assert "head, not loaded" in caplog.text
        assert "proj.weight" in caplog.text

    def test_the_weights_of_another_network_are_refused(self, tmp_path: Path) -> None:
        torch.save({"model_state": small_pair("c2d_r50")[0].state_dict()}, tmp_path / "C2D.pyth")
        with pytest.raises(CheckpointError, match="does not fit the backbone ConvolutionalEncoder"):
            build_backbone(
                "pytorchvideo:slow_r50",
                pretrained=True,
                options={"stem_dim_out": 4},
                checkpoint=tmp_path / "C2D.pyth",
            )

    @pytest.fixture
    def hub_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        return tmp_path / "hub" / "checkpoints"

    @torch.no_grad()
    def test_the_published_file_is_downloaded_once(
        self, hub_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (whole, _), urls = small_pair("slow_r50"), []

        def download(url: str, path: str, **_: object) -> None:
            urls.append(url)
            torch.save({"model_state": whole.state_dict()}, path)

        monkeypatch.setattr("torch.hub.download_url_to_file", download)
        for _ in range(2):
            built = build_backbone("pytorchvideo:slow_r50", pretrained=True, options={"stem_dim_out": 4})
        assert urls == ["https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/SLOW_8x8_R50.pyth"]
        assert [path.name for path in hub_folder.iterdir()] == ["SLOW_8x8_R50.pyth"]
        torch.testing.assert_close(
            built.network.state_dict()["blocks.0.conv.weight"], whole.blocks[0].conv.weight
        )

    def test_without_a_network_the_error_names_the_file_and_its_folder(
        self, hub_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def offline(*_: object, **__: object) -> None:
            raise urllib.error.URLError("no route")

        monkeypatch.setattr("torch.hub.download_url_to_file", offline)
        monkeypatch.setattr("vtn.backbones.published.time.sleep", lambda _: None)
        with pytest.raises(ModelError) as caught:
            build_backbone("pytorchvideo:x3d_xs", pretrained=True, options={})
        for part in ("model_zoo/kinetics/X3D_XS.pyth", str(hub_folder), "VTN.BACKBONE.CHECKPOINT"):
            assert part in str(caught.value)

    def test_published_weights_for_a_changed_network_are_refused(self, hub_folder: Path) -> None:
        hub_folder.mkdir(parents=True)
        torch.save({"model_state": small_pair("slow_r50")[0].state_dict()}, hub_folder / "SLOW_8x8_R50.pyth")
        with pytest.raises(
            ModelError, match=r"ARGS \{'stem_dim_out': 8\} changes it.*(.|\n)*of another shape"
        ):
            build_backbone("pytorchvideo:slow_r50", pretrained=True, options={"stem_dim_out": 8})

    def test_a_published_file_that_could_run_code_is_not_read(self, hub_folder: Path) -> None:
        hub_folder.mkdir(parents=True)
        torch.save({"model_state": {"path": Path("x")}}, hub_folder / "SLOW_8x8_R50.pyth")
        with pytest.raises(ModelError, match="never loaded because it can run code"):
            build_backbone("pytorchvideo:slow_r50", pretrained=True, options={})


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
