"""pytorchvideo's networks without their heads as clip encoders, compared with the whole networks.

N clips, t frames, s time steps, h w height and width of a map, F width of a feature.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slowfast.errors import InputError, ModelError
from slowfast.models.pytorchvideo.resnets import pathways
from tests.support.clips.pytorchvideo import (
    MVIT,
    SMALL,
    build_small,
    clips_for,
    encoder_of,
    places_of,
    small_pair,
    whole_network,
)


def classify(whole: nn.Module, pooled: Tensor) -> Tensor:
    """Applies all of a network's head behind its pooling to features (N, F)."""
    if hasattr(whole, "head"):
        return whole.head.proj(pooled)
    head = copy.deepcopy(whole.blocks[-1])
    pooled = pooled[:, :, None, None, None]
    if hasattr(head.pool, "post_conv"):
        pooled = head.pool.post_act(head.pool.post_conv(pooled))
    head.pool = None
    return head(pooled)


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_the_mean_of_the_map_gives_the_scores_of_the_whole_network(name: str) -> None:
    """The crops have the published size, for which the whole networks pool over the entire map."""
    whole, built = small_pair(name)
    clips = clips_for(built)
    places = places_of(built, clips)
    inputs = pathways(clips, 4) if name == "slowfast_r50" else clips
    expected = whole(inputs)
    assert expected.std() > 0.01
    torch.testing.assert_close(classify(whole, places.mean((1, 2, 3))), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(built.network(clips), places.mean((2, 3)))


@torch.no_grad()
def test_the_features_of_mvit_are_its_tokens_without_the_class_token() -> None:
    whole = whole_network("mvit_base_16x4", **MVIT)
    built = encoder_of(whole, "mvit_base_16x4", **MVIT)
    clips = clips_for(built, count=2)
    whole.head = nn.Identity()
    places = places_of(built, clips)
    assert places.shape == (2, 4, 4, 4, 16)
    torch.testing.assert_close(places.flatten(1, 3), whole(clips)[:, 1:], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_fast_pathway_is_averaged_to_the_steps_of_the_slow_one() -> None:
    options = SMALL["slowfast_r50"]
    whole = whole_network("slowfast_r50", **options)
    built = encoder_of(whole, "slowfast_r50", num_frames=16, **options)
    clips = clips_for(built, size=64)
    x = pathways(clips, 4)
    for block in whole.blocks[:5]:
        x = block(x)
    slow, fast = x
    places = places_of(built, clips).permute(0, 4, 1, 2, 3)
    assert places.shape == (1, 576, 4, 2, 2)
    torch.testing.assert_close(places[:, :512], slow)
    for step in range(4):
        torch.testing.assert_close(places[:, 512:, step], fast[:, :, 4 * step : 4 * step + 4].mean(2))


class TestClips:
    """Clips of other lengths, and the influence of frames on time steps."""

    @pytest.mark.parametrize("name", SMALL)
    @torch.no_grad()
    def test_the_description_states_whether_steps_see_each_other(self, name: str) -> None:
        _, built = small_pair(name)
        clips = clips_for(built, size=32)
        changed = clips.clone()
        changed[:, :, -1] += 1
        difference = (built.network(changed) - built.network(clips)).abs().amax((0, 2))
        assert built.clip is not None
        assert difference[-1] > 1e-4
        assert built.clip.accepts_shorter == (difference[:-1].max() == 0)
        assert built.clip.accepts_shorter == (name == "c2d_r50")

    @torch.no_grad()
    def test_the_steps_of_a_shorter_clip_are_those_of_the_full_clip(self) -> None:
        _, built = small_pair("c2d_r50")
        clips = clips_for(built, size=32)
        torch.testing.assert_close(built.network(clips[:, :, :6]), built.network(clips)[:, :3])

    @pytest.mark.parametrize(
        ("name", "frames"), [("slow_r50", 7), ("c2d_r50", 7), ("c2d_r50", 10), ("mvit_base_16x4", 6)]
    )
    def test_clips_of_another_length_are_refused(self, name: str, frames: int) -> None:
        with pytest.raises(InputError, match=r"must have the shape \(clips, 3, 8, height, width\)"):
            small_pair(name)[1].network(torch.zeros(1, 3, frames, 32, 32))

    @pytest.mark.parametrize(("name", "frames"), [("csn_r101", 16), ("slowfast_r50", 8), ("slow_r50", 5)])
    @torch.no_grad()
    def test_convolutional_networks_are_built_for_any_number_of_tubelets(
        self, name: str, frames: int
    ) -> None:
        built = build_small(name, num_frames=frames, **SMALL[name])
        assert built.clip is not None
        assert built.clip.frames == frames
        steps = frames // built.clip.tubelet
        assert built.network(clips_for(built, size=40)).shape == (1, steps, built.feature_dim)


class TestStages:
    """Maps of earlier stages and blocks."""

    @pytest.mark.parametrize("name", SMALL)
    @torch.no_grad()
    def test_later_blocks_are_not_computed(self, name: str) -> None:
        _, built = small_pair(name)
        clips = clips_for(built, size=32)
        steps = built.network(clips).shape[1]
        network: Any = built.network
        first = 0 if name.startswith("mvit") else 1
        computed: list[nn.Module] = []
        handles = [
            block.register_forward_pre_hook(lambda module, _: computed.append(module))
            for block in network.blocks
        ]
        places = places_of(built, clips, stage=1)
        for handle in handles:
            handle.remove()
        assert computed == list(network.blocks[: first + 1])
        assert places.shape[:2] == (1, steps)
        assert places.shape[2] > 1

    @torch.no_grad()
    def test_a_finer_map_in_time_is_averaged_to_the_steps_of_the_last_map(self) -> None:
        whole, built = small_pair("i3d_r50")
        clips = clips_for(built, size=32)
        found = whole.blocks[1](whole.blocks[0](clips)).permute(0, 2, 3, 4, 1)  # eight time steps
        torch.testing.assert_close(places_of(built, clips, stage=1), (found[:, ::2] + found[:, 1::2]) / 2)

    @torch.no_grad()
    def test_a_stage_of_slowfast_has_the_channels_of_both_pathways(self) -> None:
        whole, built = small_pair("slowfast_r50")
        clips = clips_for(built, size=32)
        slow, fast = whole.blocks[0](pathways(clips, 4))
        first = whole.blocks[1].multipathway_blocks
        slow, fast = first[0](slow), first[1](fast)
        expected = torch.cat([slow, fast.unflatten(2, (8, 4)).mean(3)], dim=1).permute(0, 2, 3, 4, 1)
        torch.testing.assert_close(places_of(built, clips, stage=1), expected)

    @torch.no_grad()
    def test_the_final_norm_of_mvit_is_applied_where_it_fits(self) -> None:
        whole = whole_network("mvit_base_16x4", **MVIT)
        built = encoder_of(whole, "mvit_base_16x4", **MVIT)
        clips, shape = clips_for(built), [4, 8, 8]
        tokens = whole.cls_positional_encoding(whole.patch_embed(clips))
        maps = []
        for block in whole.blocks:
            tokens, shape = block(tokens, shape)
            maps.append(tokens[:, 1:] if tokens.shape[-1] == 8 else whole.norm_embed(tokens)[:, 1:])
        for stage, expected in enumerate(maps, start=1):
            torch.testing.assert_close(places_of(built, clips, stage).flatten(1, 3), expected)
        torch.testing.assert_close(places_of(built, clips, 3), places_of(built, clips, 0))

    def test_a_stage_that_does_not_exist_is_refused(self) -> None:
        _, built = small_pair("slow_r50")
        with pytest.raises(ModelError, match=r"STAGE = 5: must be 0 \(the last map\) or 1 to 4"):
            places_of(built, clips_for(built, size=32), stage=5)
