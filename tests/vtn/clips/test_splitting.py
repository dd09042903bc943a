"""Sequences of any length through a clip encoder, which sees one clip at a time.

B sequences, T frames, S time steps, M tokens, F width of a token.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from slowfast.datasets.clip import Normalization
from slowfast.errors import InputError, ModelError
from slowfast.models.frame_encoder import FrameEncoder, SequenceEncoder
from tests.support.clips.backbone import FRAMES, SIZE, TUBELET, WIDTH, tiny_clip_model
from vtn import VTN, BackboneConfig

STRIDES = (0, 2, 4, 6)


def random_frames(T: int, B: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(B, 3, T, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=STRIDES)
def model(request: pytest.FixtureRequest) -> VTN:
    return tiny_clip_model(clip_stride=request.param, tokens=(2, 2))


def encode_alone(model: VTN, clip: Tensor) -> Tensor:
    """Returns the features (s, M, F) of one clip (3, t, H, W), whose last frame fills an incomplete step."""
    missing = -clip.shape[1] % TUBELET
    clip = torch.cat([clip, clip[:, -1:].expand(-1, missing, -1, -1)], dim=1)
    places = model.backbone.feature_map(clip[None])[0]  # (s, 4, 4, F)
    return places.unflatten(2, (2, 2)).unflatten(1, (2, 2)).mean((2, 4)).flatten(1, 2)


@torch.no_grad()
@pytest.mark.parametrize("T", [1, 2, 7, 8, 9, 16, 21])
def test_features_are_those_of_the_clips_one_by_one(model: VTN, T: int) -> None:
    frames = random_frames(T)
    features = model.encode_frames(frames)
    grid = model.clip_grid
    assert grid is not None
    expected = torch.cat(
        [
            encode_alone(model, frames[0, :, span.start : span.stop])[span.keep_from : span.keep_to]
            for span in grid.spans(T)
        ]
    )
    assert features.shape == (1, -(-T // TUBELET), 4, WIDTH)
    torch.testing.assert_close(features[0], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_long_video_equals_its_parts_cut_where_clips_begin() -> None:
    model, frames = tiny_clip_model(), random_frames(3 * FRAMES + 5)
    parts = [model.encode_frames(part) for part in frames.split(FRAMES, dim=2)]
    torch.testing.assert_close(model.encode_frames(frames), torch.cat(parts, 1), atol=1e-6, rtol=1e-6)
    changed = frames.clone()
    changed[:, :, FRAMES:] = 0
    steps = FRAMES // TUBELET
    assert torch.equal(model.encode_frames(changed)[:, :steps], model.encode_frames(frames)[:, :steps])


@torch.no_grad()
def test_padded_and_missing_frames_have_no_influence(model: VTN) -> None:
    frames = random_frames(13, B=3)
    mask = torch.arange(13) < torch.tensor([13, 6, 9])[:, None]
    frames[~mask.unsqueeze(1).expand(-1, 3, -1)] = torch.nan
    positions = (torch.arange(13) * 5).expand(3, -1)
    logits = model(frames, positions, mask)
    for row, length in enumerate((13, 6, 9)):
        alone = model(frames[row : row + 1, :, :length], positions[:1, :length])
        torch.testing.assert_close(logits[row : row + 1], alone, atol=1e-5, rtol=1e-5)
    # A missing frame within a step shows the frame before; a step without a real frame is left out.
    holes = torch.ones(1, 13, dtype=torch.bool)
    holes[0, [3, 6, 7]] = False
    seen = frames[:1].clone()
    seen[:, :, 3], seen[:, :, 6], seen[:, :, 7] = seen[:, :, 2], seen[:, :, 5], seen[:, :, 5]
    features = model.encode_frames(frames[:1], holes)
    expected = model.encode_frames(seen)
    expected[:, 3] = 0
    torch.testing.assert_close(features, expected, atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_chunks_bound_the_frames_that_are_encoded_at_once() -> None:
    model, frames = tiny_clip_model(chunk_frames=FRAMES), random_frames(20, B=2)
    sizes: list[int] = []
    model.backbone.register_forward_hook(lambda _, clips, __: sizes.append(clips[0].shape[0]))
    features = model.encode_frames(frames)
    assert set(sizes) == {1}
    torch.testing.assert_close(features, tiny_clip_model().encode_frames(frames), atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_an_encoder_that_needs_full_clips_sees_the_last_frame_repeated() -> None:
    model = tiny_clip_model(backbone_args={"accepts_shorter": False})
    frames = random_frames(11)
    model.backbone.clips_seen.clear()
    features = model.encode_frames(frames)
    assert model.backbone.clips_seen == [FRAMES, FRAMES]
    filled = torch.cat([frames, frames[:, :, -1:].expand(-1, -1, 5, -1, -1)], dim=2)
    torch.testing.assert_close(features, model.encode_frames(filled)[:, :6], atol=1e-6, rtol=1e-6)


@settings(max_examples=40)
@given(
    T=st.integers(1, 30),
    stride=st.sampled_from([2, 4, 8]),
    cuts=st.lists(st.integers(1, 29), max_size=5),
    chunk=st.sampled_from([0, 8]),
)
def test_a_sequence_can_come_in_pieces_of_any_length(
    T: int, stride: int, cuts: list[int], chunk: int
) -> None:
    model = tiny_clip_model(clip_stride=stride, chunk_frames=chunk)
    encoder = FrameEncoder(model, Normalization(model.frame_mean, model.frame_std), torch.device("cpu"))
    frames = torch.randint(0, 256, (T, SIZE, SIZE, 3), dtype=torch.uint8)
    whole = encoder.encode(frames)
    borders = [0, *sorted({cut for cut in cuts if cut < T}), T]
    sequence = SequenceEncoder(encoder)
    pieces: list[Tensor] = []
    for first, stop in pairwise(borders):
        pieces += sequence.push(frames[first:stop])
        so_far = encoder.encode(frames[:stop])
        preview = sequence.preview()
        shown = torch.cat([*pieces, *([] if preview is None else [preview])])
        torch.testing.assert_close(shown[: len(so_far)], so_far, atol=1e-5, rtol=1e-5)
    pieces += sequence.finish()
    torch.testing.assert_close(torch.cat(pieces), whole, atol=1e-5, rtol=1e-5)


def test_gradients_reach_a_clip_encoder_that_is_trained() -> None:
    model = tiny_clip_model(frozen=False).train()
    model(random_frames(10, B=2), None, torch.arange(10) < torch.tensor([[10], [4]])).sum().backward()
    assert all(weight.grad is not None for weight in model.backbone.parameters())


def test_settings_that_a_backbone_does_not_take_are_refused() -> None:
    with pytest.raises(ModelError, match=r"CLIP_FRAMES = 10: must be 8 or fewer"):
        tiny_clip_model(clip_frames=10)
    with pytest.raises(ModelError, match=r"CLIP_FRAMES = 4: must be 8 for this backbone"):
        tiny_clip_model(clip_frames=4, backbone_args={"accepts_shorter": False})
    with pytest.raises(ModelError, match=r"must be a multiple of 2"):
        tiny_clip_model(clip_stride=3)
    with pytest.raises(ModelError, match="CLIP_STRIDE = 4: must be 0"):
        VTN(BackboneConfig("shallow_conv", pretrained=False, clip_stride=4))
    with pytest.raises(InputError, match="must be multiples of 8"):
        tiny_clip_model().encode_frames(torch.zeros(1, 3, 8, 30, 30))


def test_fewer_frames_per_clip_can_be_chosen() -> None:
    model = tiny_clip_model(clip_frames=4)
    assert model.clip_grid is not None
    assert (model.clip_grid.frames, model.clip_grid.stride) == (4, 4)
    assert model.feature_source()["clips"] == "4 frames every 4, 2 per time step"


def test_an_empty_batch_has_no_features(model: VTN) -> None:
    features = model.encode_frames(random_frames(FRAMES)[:0])
    assert features.shape[0] == 0
    assert features.shape[1:] == model.encode_frames(random_frames(FRAMES)).shape[1:]
