"""Clip encoders of `transformers` for shorter clips, and for frames of other sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from slowfast.errors import InputError
from tests.support.tiny_clips import (
    FAMILIES,
    STEPS,
    TINY_CLIPS,
    build_clips,
    by_step,
    clips_of,
    features_of,
    full_model,
    save,
    side_of,
    their_features,
)


class TestShorterClips:
    """A clip of fewer frames has the features of a full clip whose missing tokens are masked."""

    def test_videomae_equals_the_library_s_own_masking(self, tmp_path: Path) -> None:
        model = full_model("videomae")
        built = build_clips(save(model, tmp_path))
        clips = clips_of(8, 48)
        masked = torch.zeros(2, STEPS * 9, dtype=torch.bool)
        masked[:, 3 * 9 :] = True
        expected = their_features(model, "videomae", clips, bool_masked_pos=masked)
        torch.testing.assert_close(features_of(built, clips[:, :, :6]), expected, atol=1e-5, rtol=1e-4)

    def test_vivit_equals_the_library_s_attention_mask(self, tmp_path: Path) -> None:
        model = full_model("vivit")
        built = build_clips(save(model, tmp_path))
        clips = clips_of(8, 48)
        mask = torch.ones(2, 1 + STEPS * 9)
        mask[:, 1 + 2 * 9 :] = 0
        expected = their_features(model, "vivit", clips, attention_mask=mask)[:, :2]
        torch.testing.assert_close(features_of(built, clips[:, :, :4]), expected, atol=1e-5, rtol=1e-4)

    def test_v_jepa_2_equals_the_library_s_blocks_with_the_kept_tokens_numbers(self, tmp_path: Path) -> None:
        model = full_model("vjepa2")
        built = build_clips(save(model, tmp_path))
        clips = clips_of(8, 48)
        kept = torch.arange(3 * 9).expand(2, -1)
        with torch.no_grad():
            tokens = model.encoder.embeddings(clips.transpose(1, 2))[:, : 3 * 9]
            for layer in model.encoder.layer:
                tokens = layer(tokens, position_mask=kept)[0]
            expected = by_step(model.encoder.layernorm(tokens), "vjepa2")
        torch.testing.assert_close(features_of(built, clips[:, :, :6]), expected, atol=1e-5, rtol=1e-4)

    @pytest.mark.parametrize("model_type", ["timesformer", "videoprism_vision_model"])
    def test_cut_positions_equal_a_library_model_of_that_length(
        self, model_type: str, tmp_path: Path
    ) -> None:
        """Attention over time is apart from that over space, so a shorter model is one without the tokens."""
        model = full_model(model_type)
        built = build_clips(save(model, tmp_path))
        shorter = full_model(model_type, num_frames=3)
        weights = model.state_dict()
        for name, tensor in shorter.state_dict().items():
            if tensor.shape != weights[name].shape:  # the positions in time
                assert weights[name].shape[1] == 4
                weights[name] = weights[name][:, :3]
        shorter.load_state_dict(weights)
        clips = clips_of(4, side_of(model_type))[:, :, :3]
        torch.testing.assert_close(
            features_of(built, clips), their_features(shorter, model_type, clips), atol=1e-5, rtol=1e-4
        )

    @pytest.mark.parametrize("model_type", FAMILIES)
    @pytest.mark.parametrize(("frames", "reason"), [(10, "at most"), (0, "must be a multiple")])
    def test_other_lengths_are_refused(self, model_type: str, frames: int, reason: str) -> None:
        built = build_clips(f"hf:{model_type}", **TINY_CLIPS[model_type])
        with pytest.raises(InputError, match=reason):
            built.network(clips_of(frames, side_of(model_type)))

    def test_half_a_tubelet_is_refused(self) -> None:
        built = build_clips("hf:videomae", **TINY_CLIPS["videomae"])
        with pytest.raises(InputError, match=r"a clip has 3 frames: must be a multiple of 2, at most 8"):
            built.network(clips_of(3, 48))


class TestFrameSizes:
    @pytest.mark.parametrize("model_type", [name for name in FAMILIES if name != "vjepa2"])
    def test_other_sizes_need_resized_positions(self, model_type: str) -> None:
        side = side_of(model_type)
        patch = side // 3
        built = build_clips(f"hf:{model_type}", **TINY_CLIPS[model_type])
        assert (built.image_size, built.fixed_size, built.size_multiple) == (side, True, patch)
        assert "dynamic_img_size True" in built.size_problem(side, 2 * side)
        clips = clips_of(4, side, width=2 * side)
        with pytest.raises(InputError, match=rf"must be {side}×{side} for .*dynamic_img_size True"):
            built.network(clips)
        resized = build_clips(f"hf:{model_type}", **TINY_CLIPS[model_type], dynamic_img_size=True)
        assert not resized.fixed_size
        assert resized.feature_map is not None
        found = resized.feature_map(resized.network, clips, 0).places
        assert found.shape[2:4] == (3, 6)

    @pytest.mark.parametrize("model_type", ["videomae", "vivit"])
    def test_resizing_keeps_the_time_steps_of_the_positions(self, model_type: str) -> None:
        """A table that is constant over each step's places stays so, and a linear one stays linear inside."""
        network: Any = build_clips(
            f"hf:{model_type}", **TINY_CLIPS[model_type], dynamic_img_size=True
        ).network
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
        built = build_clips(save(model, tmp_path))
        assert not built.fixed_size
        other = full_model("vjepa2", crop_size=side)
        other.load_state_dict(model.state_dict())
        clips = clips_of(8, side)
        with torch.no_grad():
            expected = other(clips.transpose(1, 2), skip_predictor=True).last_hidden_state
        torch.testing.assert_close(features_of(built, clips).flatten(1, 2), expected, atol=1e-5, rtol=1e-4)

    def test_v_jepa_2_takes_wide_frames(self) -> None:
        built = build_clips("hf:vjepa2", **TINY_CLIPS["vjepa2"])
        assert built.feature_map is not None
        found = built.feature_map(built.network, clips_of(8, 32, width=64), 0).places
        assert found.shape == (2, 4, 2, 4, 48)
