"""Scores of a long video are the same in every way, and the memory is bounded.

T frames, D width of the encoder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from slowfast.video.frame_times import FrameTimes
from tests.support.tiny_models import FEATURE_DIM, SIZE, TINY, tiny, video_features
from vtn import VTN, VideoFeatures, score_video

LONG = 2000


@pytest.mark.parametrize("position", ["learned", "sinusoidal"])
@torch.no_grad()
def test_end_to_end_in_chunks_and_from_stored_features(tmp_path: Path, position: str) -> None:
    frames = torch.randn(1, 3, LONG, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    model = tiny(position=position)
    expected = model(frames)

    model.chunk_frames = 48
    chunked = model(frames)
    features = model.encode_frames(frames)
    np.save(tmp_path / "features.npy", features[0].numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "features.npy", mmap_mode="c"))[None]
    for logits in (chunked, model.classify(features), model.classify(mapped)):
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)

    video = VideoFeatures(mapped[0], FrameTimes(np.arange(LONG) / 25, LONG / 25), np.arange(LONG))
    scores = score_video(model, video, head_act="none")
    torch.testing.assert_close(torch.from_numpy(scores), expected[0], atol=1e-4, rtol=0)


class NewMemory(TorchDispatchMode):
    """Records the bytes of each block of memory that operators allocate."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {t.untyped_storage().data_ptr() for t in args if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in given:
                self.sizes.append(tensor.untyped_storage().nbytes())
        return result


def memory_beyond_one_sequence(model: VTN, T: int) -> tuple[int, int]:
    """Returns how many blocks are as large as a hidden sequence, and the bytes of the largest other one."""
    sequence = T * TINY["hidden_dim"] * 4
    features = video_features(T).features[None]
    with torch.no_grad(), NewMemory() as memory:
        model.classify(features, torch.arange(T)[None])
    return sum(size >= sequence for size in memory.sizes), max(s for s in memory.sizes if s < sequence)


def test_the_encoder_allocates_one_hidden_sequence_and_blocks_of_fixed_size() -> None:
    """Besides, only the attention weights of [CLS] grow with the length: one number per head and frame."""
    model = tiny()
    for T in (4096, 16384):
        sequences, largest_other = memory_beyond_one_sequence(model, T)
        assert sequences <= 1
        weights = TINY["num_heads"] * (1 + T) * 4
        assert largest_other <= max(weights, memory_beyond_one_sequence(model, 2048)[1])


def test_the_memory_of_the_backbone_is_bounded_by_a_chunk() -> None:
    model = tiny(chunk_frames=16)
    seen: list[int] = []
    model.backbone.register_forward_hook(lambda _, images, __: seen.append(len(images[0])))
    frames = torch.zeros(1, 3, 400, SIZE, SIZE)
    with torch.no_grad(), NewMemory() as memory:
        model.encode_frames(frames)
    assert set(seen) == {16}
    features = 400 * FEATURE_DIM * 4
    chunk = 16 * 3 * SIZE * SIZE * 4
    assert max(memory.sizes) <= max(features, chunk)


@torch.no_grad()
def test_positions_of_an_hour_go_beyond_the_table() -> None:
    """The positions of one hour at 25 frames per second, with a table of 48 positions.

    Learned positions repeat every 48 frames, so that a part which is moved by a multiple of 48 has the same
    score and the model cannot tell early from late. Sinusoidal positions differ at all times.
    """
    features = video_features(6).features[None]
    early, hour = torch.arange(6)[None], 25 * 3600 // 48 * 48
    learned, sinusoidal = tiny(max_position_embeddings=50), tiny(position="sinusoidal")
    torch.testing.assert_close(
        learned.classify(features, early + hour), learned.classify(features, early), atol=1e-5, rtol=0
    )
    moved, still = sinusoidal.classify(features, early + hour), sinusoidal.classify(features, early)
    assert (moved - still).abs().max() > 1e-3
    assert torch.isfinite(moved).all()


@torch.no_grad()
def test_positions_in_seconds_do_not_depend_on_the_frame_rate() -> None:
    """Equal times in two files, of 25 and 50 frames per second, have equal positions."""
    by_second, by_frame = tiny(position="sinusoidal", position_rate=25.0), tiny(position="sinusoidal")
    slow, fast = video_features(40, fps=5.0, step=5), video_features(40, fps=5.0, step=10)
    np.testing.assert_allclose(score_video(by_second, slow), score_video(by_second, fast), atol=1e-6)
    assert np.abs(score_video(by_frame, slow) - score_video(by_frame, fast)).max() > 1e-3
