"""V-JEPA 2 and 2.1 from Meta's checkpoints, equal to a computation with Meta's names, written here.

The reference applies attention with fused queries, keys and values, and turns pairs of dimensions one axis
after the other.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slowfast.errors import CheckpointError, ModelError
from tests.support.tiny_clips import clips_of
from vtn.backbones.base import Backbone
from vtn.backbones.build import build_backbone
from vtn.backbones.clips import vjepa2_1
from vtn.backbones.clips.families.vjepa2_weights import rename_meta_weights
from vtn.backbones.weight_files import load_backbone_weights

WIDTH, HEADS, BLOCKS, PATCH = 40, 2, 2, 16  # heads of 20 dimensions: 3 axes of 6, and 2 that are not turned
OPTIONS: dict[str, Any] = {
    "hidden_size": WIDTH, "num_attention_heads": HEADS, "num_hidden_layers": BLOCKS, "mlp_ratio": 2.0,
    "crop_size": 48, "frames_per_clip": 8,
}  # fmt: skip
NAMES = {"2": "hf:vjepa2", "2.1": "vjepa2_1_vit_base_384"}


def meta_weights(version: str) -> dict[str, Tensor]:
    """Random weights with the names and shapes of Meta's encoder."""
    draw = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (WIDTH, 3, 2, PATCH, PATCH),
        "patch_embed.proj.bias": (WIDTH,),
    }
    for block in range(BLOCKS):
        for name, rows, columns in (
            ("attn.qkv", 3 * WIDTH, WIDTH), ("attn.proj", WIDTH, WIDTH),
            ("mlp.fc1", 2 * WIDTH, WIDTH), ("mlp.fc2", WIDTH, 2 * WIDTH),
        ):  # fmt: skip
            shapes |= {
                f"blocks.{block}.{name}.weight": (rows, columns),
                f"blocks.{block}.{name}.bias": (rows,),
            }
        for norm in ("norm1", "norm2"):
            shapes |= {f"blocks.{block}.{norm}.{kind}": (WIDTH,) for kind in ("weight", "bias")}
    if version == "2":
        shapes |= {"norm.weight": (WIDTH,), "norm.bias": (WIDTH,), "pos_embed": (1, 36, WIDTH)}
    else:
        shapes |= {f"norms_block.{i}.{kind}": (WIDTH,) for i in range(4) for kind in ("weight", "bias")}
        shapes |= {
            "video_mod_embed": (1, 1, WIDTH), "img_mod_embed": (1, 1, WIDTH),
            "patch_embed_img.proj.weight": (WIDTH, 3, 1, PATCH, PATCH), "patch_embed_img.proj.bias": (WIDTH,),
        }  # fmt: skip
    drawn = {name: torch.randn(shape, generator=draw) * 0.3 for name, shape in shapes.items()}
    return {name: 1 + w if "norm" in name and name.endswith("weight") else w for name, w in drawn.items()}


def save(weights: dict[str, Tensor], path: Path, key: str = "ema_encoder") -> Path:
    """Writes a checkpoint as training does, with other parts and the prefixes of its wrappers."""
    wrapped = {f"module.backbone.{name}": tensor for name, tensor in weights.items()}
    rest = {"predictor": {"module.backbone.mask_tokens.0": torch.zeros(1)}, "epoch": 3, "opt": {"state": {}}}
    torch.save({**rest, key: wrapped}, path / "meta.pt")
    return path / "meta.pt"


def turned(x: Tensor, position: Tensor, version: str) -> Tensor:
    """Turns the pairs (2i, 2i + 1) of the last axis, (…, L, D), by angles of the positions (L,)."""
    D = x.shape[-1]
    frequency = 1.0 / 10000 ** (torch.arange(D // 2) / (D / 2))
    if version == "2.1":  # a rotation of complex numbers
        angle = torch.outer(position, frequency)
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(-2)
    result = torch.empty_like(x)  # each member of a pair has a frequency of its own
    for even in range(0, D, 2):
        first, second = position * frequency[even % (D // 2)], position * frequency[(even + 1) % (D // 2)]
        result[..., even] = x[..., even] * first.cos() - x[..., even + 1] * first.sin()
        result[..., even + 1] = x[..., even + 1] * second.cos() + x[..., even] * second.sin()
    return result


def reference(weights: dict[str, Tensor], clips: Tensor, version: str) -> Tensor:
    """The encoder's output (N, L, F) for clips (N, 3, t, H, W), computed with Meta's names."""

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (WIDTH,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)

    size = (2, PATCH, PATCH)
    x = F.conv3d(clips, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=size)
    _, _, s, h, w = x.shape
    x = x.flatten(2).transpose(1, 2)
    row, column = torch.arange(h).float(), torch.arange(w).float()
    if version == "2.1":
        x = x + weights["video_mod_embed"]
        row, column = row * 15 / (h - 1), column * 15 / (w - 1)
    axes = torch.cartesian_prod(torch.arange(s).float(), row, column).T
    for block in range(BLOCKS):
        at = f"blocks.{block}"
        fused = linear(norm(x, f"{at}.norm1"), f"{at}.attn.qkv")
        q, k, v = fused.unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        for start, axis in zip((0, 6, 12), axes, strict=True):
            part = slice(start, start + 6)
            q, k = q.clone(), k.clone()
            q[..., part], k[..., part] = (
                turned(q[..., part], axis, version),
                turned(k[..., part], axis, version),
            )
        scores = (q @ k.transpose(-1, -2)) / (WIDTH // HEADS) ** 0.5
        x = x + linear((scores.softmax(-1) @ v).transpose(1, 2).flatten(2), f"{at}.attn.proj")
        x = x + linear(F.gelu(linear(norm(x, f"{at}.norm2"), f"{at}.mlp.fc1")), f"{at}.mlp.fc2")
    return norm(x, "norm" if version == "2" else "norms_block.3")


def build(version: str, checkpoint: Path) -> Backbone:
    built = build_backbone(NAMES[version], pretrained=True, options=OPTIONS, checkpoint=checkpoint)
    built.network.eval()
    return built


@pytest.mark.parametrize("version", NAMES)
@pytest.mark.parametrize(("height", "width"), [(48, 48), (32, 64)])
def test_the_features_equal_a_computation_with_meta_s_names(
    version: str, height: int, width: int, tmp_path: Path
) -> None:
    weights = meta_weights(version)
    built = build(version, save(weights, tmp_path))
    clips = clips_of(6, height, width=width)
    with torch.no_grad():
        found = built.feature_map(built.network, clips, 0).places  # type: ignore[misc]
        expected = reference(weights, clips, version)
    torch.testing.assert_close(found.flatten(1, 3), expected, atol=1e-5, rtol=1e-4)


def test_the_versions_differ_in_their_positions_only(tmp_path: Path) -> None:
    """With equal weights, the features of the first token of one patch are equal, of more tokens not."""
    weights = meta_weights("2.1") | {"video_mod_embed": torch.zeros(1, 1, WIDTH)}
    plain = {name: tensor for name, tensor in weights.items() if name in meta_weights("2")}
    plain |= {f"norm.{kind}": weights[f"norms_block.3.{kind}"] for kind in ("weight", "bias")}
    new, old = build("2.1", save(weights, tmp_path)), build("2", save(plain, tmp_path))
    with torch.no_grad():
        single = clips_of(2, PATCH)
        torch.testing.assert_close(new.network(single), old.network(single))
        several = clips_of(8, 48)
        assert (new.network(several) - old.network(several)).abs().max() > 0.01


def test_a_fused_weight_is_divided_and_joined_again() -> None:
    weights = meta_weights("2")
    renamed, left_out = rename_meta_weights(weights, "2")
    assert left_out == ("pos_embed",)
    for kind in ("weight", "bias"):
        parts = [renamed[f"encoder.layer.1.attention.{part}.{kind}"] for part in ("query", "key", "value")]
        torch.testing.assert_close(torch.cat(parts), weights[f"blocks.1.attn.qkv.{kind}"])
    with pytest.raises(CheckpointError, match="has 4 rows: must be a multiple of 3"):
        rename_meta_weights({"blocks.0.attn.qkv.weight": torch.zeros(4, 2)}, "2")


@pytest.mark.parametrize("key", ["ema_encoder", "target_encoder", "encoder"])
def test_the_encoder_is_found_under_each_of_meta_s_keys(key: str, tmp_path: Path) -> None:
    built = build("2.1", save(meta_weights("2.1"), tmp_path, key))
    expected = meta_weights("2.1")["norms_block.3.weight"]
    torch.testing.assert_close(built.network.model.encoder.layernorm.weight, expected)  # type: ignore[union-attr]


def test_the_averaged_encoder_is_preferred(tmp_path: Path) -> None:
    path = save(meta_weights("2"), tmp_path, "target_encoder")
    content = torch.load(path)
    content["encoder"] = {
        name: torch.zeros_like(tensor) for name, tensor in content["target_encoder"].items()
    }
    torch.save(content, path)
    norm = build("2", path).network.model.encoder.layernorm  # type: ignore[union-attr]
    assert norm.weight.abs().sum() > 0  # type: ignore[union-attr, operator]


def test_the_log_names_what_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        build("2.1", save(meta_weights("2.1"), tmp_path))
    names = set(caplog.text.partition("not loaded")[2].split())
    assert {"img_mod_embed", "patch_embed_img.proj.weight", "norms_block.0.weight"} <= names
    assert not {"norms_block.3.weight", "video_mod_embed"} & names


@pytest.mark.parametrize(
    ("found", "wanted", "remedy"), [("2.1", "2", "vjepa2_1_vit_base_384"), ("2", "2.1", "hf:")]
)
def test_weights_of_the_other_version_are_refused(
    found: str, wanted: str, remedy: str, tmp_path: Path
) -> None:
    path = save(meta_weights(found), tmp_path)
    with pytest.raises(
        CheckpointError, match=rf"weights of V-JEPA {found}, whose positions differ .*{remedy}"
    ):
        build(wanted, path)


def test_missing_weights_are_listed(tmp_path: Path) -> None:
    weights = meta_weights("2.1")
    del weights["blocks.1.mlp.fc2.bias"]
    with pytest.raises(CheckpointError, match=r"encoder\.layer\.1\.mlp\.fc2\.bias"):
        build("2.1", save(weights, tmp_path))


def test_weights_that_transformers_saved_are_loaded_into_v_jepa_2(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The predictor in the file is left out."""
    from tests.support.tiny_clips import TINY_CLIPS, full_model

    model = full_model("vjepa2")
    model.save_pretrained(tmp_path)
    built = build_backbone("hf:vjepa2", pretrained=False, options=TINY_CLIPS["vjepa2"])
    with caplog.at_level("INFO"):
        load_backbone_weights(built, tmp_path / "model.safetensors")
    title, *left_out = caplog.messages[-1].splitlines()[1:]
    assert title.strip().startswith("head, not loaded")
    assert all(name.strip().startswith(("predictor.", "…")) for name in left_out)
    clips = clips_of(8, 48)
    with torch.no_grad():
        expected = model(clips.transpose(1, 2), skip_predictor=True).last_hidden_state
        found = built.network.eval()(clips)
    torch.testing.assert_close(found, expected.unflatten(1, (4, 9)).mean(2), atol=1e-5, rtol=1e-4)


class TestDownload:
    """Weights from Meta's address, here one of a local file."""

    def test_the_file_is_downloaded_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source = save(meta_weights("2.1"), tmp_path)
        source.rename(tmp_path / "vjepa2_1_vitb_dist_vitG_384.pt")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
        monkeypatch.setattr(vjepa2_1, "_URL", tmp_path.as_uri())
        for _ in range(2):
            network: Any = build_backbone(NAMES["2.1"], pretrained=True, options=OPTIONS).network
            expected = meta_weights("2.1")["norms_block.3.bias"]
            torch.testing.assert_close(network.model.encoder.layernorm.bias, expected)
            (tmp_path / "vjepa2_1_vitb_dist_vitG_384.pt").unlink(missing_ok=True)

    def test_the_error_without_a_network_names_the_address(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr("vtn.backbones.published.PAUSES", ())
        monkeypatch.setattr(vjepa2_1, "_URL", (tmp_path / "nothing").as_uri())
        with pytest.raises(ModelError, match=r"vjepa2_1_vitb_dist_vitG_384\.pt\n.*VTN\.BACKBONE\.CHECKPOINT"):
            build_backbone(NAMES["2.1"], pretrained=True, options=OPTIONS)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"depth": 3}, r"vjepa2_1_vit_base_384: VTN\.BACKBONE\.ARGS has unknown keys depth"),
        ({"num_attention_heads": 7}, "not a multiple of the number of attention heads"),
        ({"crop_size": 50}, "crop_size = 50: must be a multiple of 16"),
    ],
)
def test_options_that_the_encoder_does_not_have(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        build_backbone(NAMES["2.1"], pretrained=False, options={**OPTIONS, **options})
