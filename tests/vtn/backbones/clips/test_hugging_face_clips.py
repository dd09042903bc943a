"""Clip encoders of `transformers`: equal to the library's own models, for full, shorter and wider clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slowfast.errors import InputError, ModelError
from tests.support.tiny_clips import TINY_CLIPS, clips_of, full_model, randomize, save
from vtn.backbones.base import Backbone
from vtn.backbones.build import build_backbone

FAMILIES = list(TINY_CLIPS)
STEPS, PLACES = 4, (3, 3)


def side_of(model_type: str) -> int:
    return 54 if model_type.startswith("videoprism") else 48


def build(name: str, **options: Any) -> Backbone:
    built = build_backbone(name, pretrained=Path(name.removeprefix("hf:")).is_dir(), options=options)
    built.network.eval()
    return built


def their_features(model: Any, model_type: str, clips: Tensor, **arguments: Any) -> Tensor:
    """The features (N, s, places, F) in the output of the full model for clips (N, 3, t, H, W)."""
    frames = clips.transpose(1, 2)
    if model_type == "vjepa2":
        arguments["skip_predictor"] = True
    with torch.no_grad():
        tokens = model(frames, **arguments).last_hidden_state
    return by_step(tokens, model_type)


def by_step(tokens: Tensor, model_type: str) -> Tensor:
    """Tokens (N, L, F) in the order of each library model as (N, s, places, F), without class tokens."""
    places = PLACES[0] * PLACES[1]
    if model_type == "timesformer":  # place by place, after a class token
        return tokens[:, 1:].unflatten(1, (places, -1)).transpose(1, 2)
    return tokens[:, model_type == "vivit" :].unflatten(1, (-1, places))


def features(built: Backbone, clips: Tensor, stage: int = 0) -> Tensor:
    """The features (N, s, places, F) of a backbone's map."""
    assert built.feature_map is not None
    with torch.no_grad():
        found = built.feature_map(built.network, clips, stage)
    assert found.class_token is None
    return found.places.flatten(2, 3)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_full_clip_has_the_features_of_the_library_s_model(model_type: str, tmp_path: Path) -> None:
    """The weights pass through a folder that `transformers` wrote."""
    model = full_model(model_type)
    built = build(save(model, tmp_path))
    assert built.clip is not None
    clips = clips_of(built.clip.frames, side_of(model_type))
    found = features(built, clips)
    assert found.shape == (2, STEPS, 9, built.feature_dim)
    torch.testing.assert_close(found, their_features(model, model_type, clips), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_the_network_s_output_is_the_mean_over_the_places(model_type: str) -> None:
    built = build(f"hf:{model_type}", **TINY_CLIPS[model_type])
    assert built.clip is not None
    clips = clips_of(built.clip.frames, side_of(model_type))
    with torch.no_grad():
        torch.testing.assert_close(built.network(clips), features(built, clips).mean(2))


def test_a_fine_tuned_videomae_applies_its_classifier_s_norm_to_each_token(tmp_path: Path) -> None:
    model = full_model("videomae", auto_class="AutoModelForVideoClassification", use_mean_pooling=True)
    built = build(save(model, tmp_path))
    clips = clips_of(8, 48)
    tokens = their_features(model.videomae, "videomae", clips)
    torch.testing.assert_close(features(built, clips), model.fc_norm(tokens), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("model_type", "auto_class"),
    [
        ("vjepa2", "AutoModelForVideoClassification"),
        ("timesformer", "AutoModelForVideoClassification"),
        ("vivit", "AutoModelForVideoClassification"),
        ("videomae", "VideoMAEForPreTraining"),
    ],
)
def test_a_classifier_and_a_decoder_are_left_out(model_type: str, auto_class: str, tmp_path: Path) -> None:
    import transformers

    model = full_model(model_type)
    whole = getattr(transformers, auto_class)
    whole = whole(model.config) if "Auto" not in auto_class else whole.from_config(model.config)
    randomize(whole, seed=3)
    getattr(whole, whole.base_model_prefix).load_state_dict(model.state_dict(), strict=False)
    built = build(save(whole, tmp_path))
    assert built.clip is not None
    clips = clips_of(built.clip.frames, side_of(model_type))
    torch.testing.assert_close(
        features(built, clips), their_features(model, model_type, clips), atol=1e-5, rtol=1e-4
    )


def test_the_video_encoder_of_a_videoprism_with_text_is_used(tmp_path: Path) -> None:
    from transformers import VideoPrismClipModel, VideoPrismConfig

    vision = {**TINY_CLIPS["videoprism_vision_model"], "num_auxiliary_layers": 1}
    text = {
        "hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 1,
        "vocab_size": 50,
    }  # fmt: skip
    model = VideoPrismClipModel(VideoPrismConfig(vision_config=vision, text_config=text)).eval()
    randomize(model)
    built = build(save(model, tmp_path))
    clips = clips_of(4, 54)
    expected = their_features(model.video_model.vision_model, "videoprism_vision_model", clips)
    torch.testing.assert_close(features(built, clips), expected, atol=1e-5, rtol=1e-4)


class TestShorterClips:
    """A clip of fewer frames has the features of a full clip whose missing tokens are masked."""

    def test_videomae_equals_the_library_s_own_masking(self, tmp_path: Path) -> None:
        model = full_model("videomae")
        built = build(save(model, tmp_path))
        clips = clips_of(8, 48)
        masked = torch.zeros(2, STEPS * 9, dtype=torch.bool)
        masked[:, 3 * 9 :] = True
        expected = their_features(model, "videomae", clips, bool_masked_pos=masked)
        torch.testing.assert_close(features(built, clips[:, :, :6]), expected, atol=1e-5, rtol=1e-4)

    def test_vivit_equals_the_library_s_attention_mask(self, tmp_path: Path) -> None:
        model = full_model("vivit")
        built = build(save(model, tmp_path))
        clips = clips_of(8, 48)
        mask = torch.ones(2, 1 + STEPS * 9)
        mask[:, 1 + 2 * 9 :] = 0
        expected = their_features(model, "vivit", clips, attention_mask=mask)[:, :2]
        torch.testing.assert_close(features(built, clips[:, :, :4]), expected, atol=1e-5, rtol=1e-4)

    def test_v_jepa_2_equals_the_library_s_blocks_with_the_kept_tokens_numbers(self, tmp_path: Path) -> None:
        model = full_model("vjepa2")
        built = build(save(model, tmp_path))
        clips = clips_of(8, 48)
        kept = torch.arange(3 * 9).expand(2, -1)
        with torch.no_grad():
            tokens = model.encoder.embeddings(clips.transpose(1, 2))[:, : 3 * 9]
            for layer in model.encoder.layer:
                tokens = layer(tokens, position_mask=kept)[0]
            expected = by_step(model.encoder.layernorm(tokens), "vjepa2")
        torch.testing.assert_close(features(built, clips[:, :, :6]), expected, atol=1e-5, rtol=1e-4)

    @pytest.mark.parametrize("model_type", ["timesformer", "videoprism_vision_model"])
    def test_cut_positions_equal_a_library_model_of_that_length(
        self, model_type: str, tmp_path: Path
    ) -> None:
        """Attention over time is apart from that over space, so a shorter model is one without the tokens."""
        model = full_model(model_type)
        built = build(save(model, tmp_path))
        shorter = full_model(model_type, num_frames=3)
        weights = model.state_dict()
        for name, tensor in shorter.state_dict().items():
            if tensor.shape != weights[name].shape:  # the positions in time
                assert weights[name].shape[1] == 4
                weights[name] = weights[name][:, :3]
        shorter.load_state_dict(weights)
        clips = clips_of(4, side_of(model_type))[:, :, :3]
        torch.testing.assert_close(
            features(built, clips), their_features(shorter, model_type, clips), atol=1e-5, rtol=1e-4
        )

    @pytest.mark.parametrize("model_type", FAMILIES)
    @pytest.mark.parametrize(("frames", "reason"), [(10, "at most"), (0, "must be a multiple")])
    def test_other_lengths_are_refused(self, model_type: str, frames: int, reason: str) -> None:
        built = build(f"hf:{model_type}", **TINY_CLIPS[model_type])
        with pytest.raises(InputError, match=reason):
            built.network(clips_of(frames, side_of(model_type)))

    def test_half_a_tubelet_is_refused(self) -> None:
        built = build("hf:videomae", **TINY_CLIPS["videomae"])
        with pytest.raises(InputError, match=r"a clip has 3 frames: must be a multiple of 2, at most 8"):
            built.network(clips_of(3, 48))


class TestStages:
    @staticmethod
    def outputs_of(blocks: list[nn.Module], run: Any) -> list[Tensor]:
        """Calls `run`, and returns the output of each block."""
        found: list[Tensor] = []
        hooks = [
            block.register_forward_hook(
                lambda _m, _i, output: found.append(output[0] if isinstance(output, tuple) else output)
            )
            for block in blocks
        ]
        run()
        for hook in hooks:
            hook.remove()
        return found

    @pytest.mark.parametrize("model_type", ["vjepa2", "videomae", "timesformer", "vivit"])
    def test_a_stage_is_the_library_s_block_after_the_final_norm(
        self, model_type: str, tmp_path: Path
    ) -> None:
        model = full_model(model_type)
        built = build(save(model, tmp_path))
        assert built.clip is not None
        clips = clips_of(built.clip.frames, side_of(model_type))
        blocks = [
            module for name, module in model.named_modules()
            if name.removeprefix("encoder.").rpartition(".")[0] in ("layer", "layers")
        ]  # fmt: skip
        states = self.outputs_of(blocks, lambda: their_features(model, model_type, clips))
        assert len(states) == 3
        norm = (model.encoder if model_type == "vjepa2" else model).layernorm
        for stage, state in enumerate(states, start=1):
            expected = by_step(norm(state), model_type)
            torch.testing.assert_close(features(built, clips, stage), expected, atol=1e-5, rtol=1e-4)

    def test_videoprism_counts_spatial_blocks_first(self, tmp_path: Path) -> None:
        model = full_model("videoprism_vision_model")
        built = build(save(model, tmp_path))
        clips = clips_of(4, 54)
        blocks = [*model.spatial_layers, *model.temporal_layers]
        states = self.outputs_of(blocks, lambda: their_features(model, "videoprism_vision_model", clips))
        in_frame = model.layernorm1(states[0]).unflatten(0, (2, 4))
        torch.testing.assert_close(features(built, clips, 1), in_frame, atol=1e-5, rtol=1e-4)
        over_time = model.layernorm2(states[2]).unflatten(0, (2, 9)).transpose(1, 2)
        torch.testing.assert_close(features(built, clips, 3), over_time, atol=1e-5, rtol=1e-4)

    @pytest.mark.parametrize("model_type", FAMILIES)
    def test_later_blocks_are_not_computed(self, model_type: str) -> None:
        built = build(f"hf:{model_type}", **TINY_CLIPS[model_type])
        assert built.clip is not None
        clips = clips_of(built.clip.frames, side_of(model_type))
        blocks = list(built.network.blocks)  # type: ignore[arg-type]
        assert len(self.outputs_of(blocks, lambda: features(built, clips, 2))) == 2
        with pytest.raises(ModelError, match=rf"STAGE = 9: must be 0 \(the last map\) or 1 to {len(blocks)}"):
            features(built, clips, 9)


class TestFrameSizes:
    @pytest.mark.parametrize("model_type", [name for name in FAMILIES if name != "vjepa2"])
    def test_other_sizes_need_resized_positions(self, model_type: str) -> None:
        side = side_of(model_type)
        patch = side // 3
        built = build(f"hf:{model_type}", **TINY_CLIPS[model_type])
        assert (built.image_size, built.fixed_size, built.size_multiple) == (side, True, patch)
        assert "dynamic_img_size True" in built.size_problem(side, 2 * side)
        clips = clips_of(4, side, width=2 * side)
        with pytest.raises(InputError, match=rf"must be {side}×{side} for .*dynamic_img_size True"):
            built.network(clips)
        resized = build(f"hf:{model_type}", **TINY_CLIPS[model_type], dynamic_img_size=True)
        assert not resized.fixed_size
        assert resized.feature_map is not None
        found = resized.feature_map(resized.network, clips, 0).places
        assert found.shape[2:4] == (3, 6)

    @pytest.mark.parametrize("model_type", ["videomae", "vivit"])
    def test_resizing_keeps_the_time_steps_of_the_positions(self, model_type: str) -> None:
        """A table that is constant over each step's places stays so, and a linear one stays linear inside."""
        network: Any = build(f"hf:{model_type}", **TINY_CLIPS[model_type], dynamic_img_size=True).network
        trained = network.trained_grid
        steps = torch.arange(4.0).repeat_interleave(9)[None, :, None]
        wider = trained._replace(columns=6)
        found = network.cut_positions(steps, trained, wider)
        torch.testing.assert_close(found.flatten(), torch.arange(4.0).repeat_interleave(18))
        columns = torch.arange(3.0).repeat(12)[None, :, None]
        row = network.cut_positions(columns, trained, wider)[0, :6, 0]
        assert torch.all(row.diff() > 0)

    @pytest.mark.parametrize("side", [32, 64])
    def test_v_jepa_2_takes_any_size_as_a_library_model_of_that_size(self, side: int, tmp_path: Path) -> None:
        model = full_model("vjepa2")
        built = build(save(model, tmp_path))
        assert not built.fixed_size
        other = full_model("vjepa2", crop_size=side)
        other.load_state_dict(model.state_dict())
        clips = clips_of(8, side)
        with torch.no_grad():
            expected = other(clips.transpose(1, 2), skip_predictor=True).last_hidden_state
        torch.testing.assert_close(features(built, clips).flatten(1, 2), expected, atol=1e-5, rtol=1e-4)

    def test_v_jepa_2_takes_wide_frames(self) -> None:
        built = build("hf:vjepa2", **TINY_CLIPS["vjepa2"])
        assert built.feature_map is not None
        found = built.feature_map(built.network, clips_of(8, 32, width=64), 0).places
        assert found.shape == (2, 4, 2, 4, 48)


class TestDescription:
    """Sources: see the functions `describe` and the table FAMILIES."""

    @pytest.mark.parametrize(
        ("model_type", "options", "frames", "tubelet", "rate"),
        [
            ("vjepa2", {}, 64, 2, 4.0),
            ("videomae", {"image_size": 32}, 16, 2, 7.5),
            ("timesformer", {}, 8, 1, 30 / 32),
            ("timesformer", {"num_frames": 16}, 16, 1, 30 / 16),
            ("timesformer", {"num_frames": 96}, 96, 1, 30 / 4),
            ("vivit", {}, 32, 2, 12.5),
            ("videoprism_vision_model", {}, 16, 1, 1.6),
        ],
    )
    def test_the_clips_of_the_published_configurations(
        self, model_type: str, options: dict[str, Any], frames: int, tubelet: int, rate: float
    ) -> None:
        with torch.device("meta"):
            clip = build(f"hf:{model_type}", **options).clip
        assert clip is not None
        assert (clip.frames, clip.tubelet, clip.frame_rate) == (frames, tubelet, rate)
        assert (clip.accepts_shorter, clip.causal) == (True, False)

    @pytest.mark.parametrize(
        ("model_type", "mean", "std"),
        [
            ("vjepa2", 0.485, 0.229), ("videomae", 0.485, 0.229), ("timesformer", 0.45, 0.225),
            ("vivit", 0.5, 0.5), ("videoprism_vision_model", 0.0, 1.0),
        ],
    )  # fmt: skip
    def test_a_model_type_has_its_family_s_normalization(
        self, model_type: str, mean: float, std: float
    ) -> None:
        built = build(f"hf:{model_type}", **TINY_CLIPS[model_type])
        assert (built.mean[0], built.std[0]) == (mean, std)

    @pytest.mark.parametrize("file", ["preprocessor_config.json", "video_preprocessor_config.json"])
    def test_the_file_of_a_folder_is_read(self, file: str, tmp_path: Path) -> None:
        name = save(full_model("videomae"), tmp_path)
        processing = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 3}
        (tmp_path / file).write_text(json.dumps({**processing, "do_normalize": True}))
        built = build(name)
        assert (built.mean, built.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
        assert (built.image_size, built.interpolation) == (48, "bicubic")

    def test_the_scale_of_the_pixels_in_the_file_is_part_of_the_normalization(self, tmp_path: Path) -> None:
        name = save(full_model("videomae"), tmp_path)
        processing = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 127.5}
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(processing))
        built = build(name)
        assert (built.mean, built.std) == ((0.25,) * 3, (0.25,) * 3)

    def test_vivit_s_shift_is_applied_once(self, tmp_path: Path) -> None:
        """Its published file shifts pixels to -1 … 1 and normalizes again; its training only shifted them."""
        name = save(full_model("vivit"), tmp_path)
        processing = {
            "offset": True, "rescale_factor": 1 / 127.5, "do_normalize": True,
            "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
        }  # fmt: skip
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(processing))
        built = build(name)
        assert (built.mean, built.std) == ((0.5,) * 3, (0.5,) * 3)


class TestErrors:
    def test_unknown_options(self) -> None:
        with pytest.raises(ModelError, match=r"unknown keys depth; VJEPA2Config has .*num_hidden_layers"):
            build("hf:vjepa2", depth=3)

    def test_values_of_another_type(self) -> None:
        with pytest.raises(ModelError, match=r"VTN\.BACKBONE\.ARGS = .*hidden_size"):
            build("hf:videomae", hidden_size="wide")

    @pytest.mark.parametrize("pooling", ["cls", "mean", "map"])
    def test_a_pooling(self, pooling: str) -> None:
        with pytest.raises(ModelError, match=rf"POOLING = '{pooling}': must be '' for the clip encoder"):
            build_backbone("hf:vjepa2", pretrained=False, options={}, pooling=pooling)

    @pytest.mark.parametrize(
        ("model_type", "options", "reason"),
        [
            ("videomae", {"image_size": 50}, "image_size = 50: must be a multiple of 16"),
            ("videomae", {"num_frames": 7}, "clips of 7 frames: must be a multiple of 2"),
            ("videomae", {"image_size": [48, 32]}, "must be squares"),
            ("vjepa2", {"num_attention_heads": 7}, "not a multiple of the number of attention heads"),
            ("timesformer", {"attention_type": "space_only"}, "must be divided_space_time"),
        ],
    )
    def test_configurations_that_cannot_be_computed(
        self, model_type: str, options: dict[str, Any], reason: str
    ) -> None:
        with pytest.raises(ModelError, match=reason):
            build(f"hf:{model_type}", **{**TINY_CLIPS[model_type], **options})

    def test_weights_of_a_model_type(self) -> None:
        with pytest.raises(ModelError, match="hf:vjepa2: is a model type and has no weights"):
            build_backbone("hf:vjepa2", pretrained=True, options=TINY_CLIPS["vjepa2"])

    def test_a_later_format_of_v_jepa_2_1(self, tmp_path: Path) -> None:
        """A version of transformers without V-JEPA 2.1 would load the weights and compute wrong positions."""
        name = save(full_model("vjepa2"), tmp_path)
        path = tmp_path / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "use_rope_interleave": True}))
        with pytest.raises(ModelError, match=r"use_rope_interleave, .* V-JEPA 2\.1.* vjepa2_1_vit_base_384"):
            build(name)

    def test_incomplete_weights(self, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        name = save(full_model("vivit"), tmp_path)
        weights = load_file(tmp_path / "model.safetensors")
        del weights["layernorm.weight"]
        save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ModelError, match=r"lacks 1 weights of VivitModel: layernorm\.weight"):
            build(name)

    def test_a_name_without_a_network(self) -> None:
        with pytest.raises(ModelError, match="MCG-NJU/videomae-base/tree/main"):
            build_backbone("hf:MCG-NJU/videomae-base", pretrained=True, options={})
