"""Clip encoders of `transformers`: equal to the library's own models, from the whole and from each stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slowfast.errors import ModelError
from tests.support.tiny_clips import (
    FAMILIES,
    STEPS,
    TINY_CLIPS,
    build_clips,
    by_step,
    clips_of,
    features_of,
    full_model,
    randomize,
    save,
    side_of,
    their_features,
)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_full_clip_has_the_features_of_the_library_s_model(model_type: str, tmp_path: Path) -> None:
    """The weights pass through a folder that `transformers` wrote."""
    model = full_model(model_type)
    built = build_clips(save(model, tmp_path))
    assert built.clip is not None
    clips = clips_of(built.clip.frames, side_of(model_type))
    found = features_of(built, clips)
    assert found.shape == (2, STEPS, 9, built.feature_dim)
    torch.testing.assert_close(found, their_features(model, model_type, clips), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_the_network_s_output_is_the_mean_over_the_places(model_type: str) -> None:
    built = build_clips(f"hf:{model_type}", **TINY_CLIPS[model_type])
    assert built.clip is not None
    clips = clips_of(built.clip.frames, side_of(model_type))
    with torch.no_grad():
        torch.testing.assert_close(built.network(clips), features_of(built, clips).mean(2))


def test_a_fine_tuned_videomae_applies_its_classifier_s_norm_to_each_token(tmp_path: Path) -> None:
    model = full_model("videomae", auto_class="AutoModelForVideoClassification", use_mean_pooling=True)
    built = build_clips(save(model, tmp_path))
    clips = clips_of(8, 48)
    tokens = their_features(model.videomae, "videomae", clips)
    torch.testing.assert_close(features_of(built, clips), model.fc_norm(tokens), atol=1e-5, rtol=1e-4)


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
    built = build_clips(save(whole, tmp_path))
    assert built.clip is not None
    clips = clips_of(built.clip.frames, side_of(model_type))
    torch.testing.assert_close(
        features_of(built, clips), their_features(model, model_type, clips), atol=1e-5, rtol=1e-4
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
    built = build_clips(save(model, tmp_path))
    clips = clips_of(4, 54)
    expected = their_features(model.video_model.vision_model, "videoprism_vision_model", clips)
    torch.testing.assert_close(features_of(built, clips), expected, atol=1e-5, rtol=1e-4)


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
        built = build_clips(save(model, tmp_path))
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
            torch.testing.assert_close(features_of(built, clips, stage), expected, atol=1e-5, rtol=1e-4)

    def test_videoprism_counts_spatial_blocks_first(self, tmp_path: Path) -> None:
        model = full_model("videoprism_vision_model")
        built = build_clips(save(model, tmp_path))
        clips = clips_of(4, 54)
        blocks = [*model.spatial_layers, *model.temporal_layers]
        states = self.outputs_of(blocks, lambda: their_features(model, "videoprism_vision_model", clips))
        in_frame = model.layernorm1(states[0]).unflatten(0, (2, 4))
        torch.testing.assert_close(features_of(built, clips, 1), in_frame, atol=1e-5, rtol=1e-4)
        over_time = model.layernorm2(states[2]).unflatten(0, (2, 9)).transpose(1, 2)
        torch.testing.assert_close(features_of(built, clips, 3), over_time, atol=1e-5, rtol=1e-4)

    @pytest.mark.parametrize("model_type", FAMILIES)
    def test_later_blocks_are_not_computed(self, model_type: str) -> None:
        built = build_clips(f"hf:{model_type}", **TINY_CLIPS[model_type])
        assert built.clip is not None
        clips = clips_of(built.clip.frames, side_of(model_type))
        blocks = list(built.network.blocks)  # type: ignore[arg-type]
        assert len(self.outputs_of(blocks, lambda: features_of(built, clips, 2))) == 2
        with pytest.raises(ModelError, match=rf"STAGE = 9: must be 0 \(the last map\) or 1 to {len(blocks)}"):
            features_of(built, clips, 9)
