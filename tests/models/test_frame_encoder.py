"""The one path from decoded frames to features."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
import torch
from torch import Tensor

from slowfast.datasets.clip import Normalization, normalize
from slowfast.errors import DecodeError
from slowfast.models.frame_encoder import CHUNK_FRAMES, FrameEncoder
from tests.support.tiny_features import WIDTH, TinyFeatures

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), np.uint8)


def encoder(model: TinyFeatures, channels: str = "RGB") -> FrameEncoder:
    return FrameEncoder(model.eval(), Normalization(MEAN, STD), torch.device("cpu"), channels=channels)


@torch.no_grad()
def features_of(model: TinyFeatures, frames: np.ndarray) -> Tensor:
    clip = torch.from_numpy(frames.copy()).permute(3, 0, 1, 2)[None]
    return model.encode_frames(normalize(clip, MEAN, STD))[0]


def test_features_are_those_of_the_normalised_frames(frames: np.ndarray) -> None:
    model = TinyFeatures()
    features = encoder(model).encode(frames)
    assert features.shape == (10, WIDTH)
    assert not features.requires_grad
    torch.testing.assert_close(features, features_of(model, frames))
    assert torch.equal(encoder(model).encode(torch.from_numpy(frames)), features)


def test_views_with_negative_strides_are_accepted(frames: np.ndarray) -> None:
    model = TinyFeatures()
    torch.testing.assert_close(
        encoder(model).encode(frames[:, :, ::-1]), features_of(model, frames[:, :, ::-1])
    )


def test_channels_are_reversed_for_models_that_take_bgr(frames: np.ndarray) -> None:
    model = TinyFeatures()
    torch.testing.assert_close(encoder(model, "BGR").encode(frames), features_of(model, frames[..., ::-1]))


@pytest.mark.parametrize("ahead", [0, 2])
def test_chunks_are_encoded_in_order(frames: np.ndarray, ahead: int) -> None:
    model = TinyFeatures()
    chunks = (frames[start : start + 4] for start in range(0, 10, 4))
    encoded = list(encoder(model).encode_chunks(chunks, ahead=ahead))
    assert [len(rows) for rows in encoded] == [4, 4, 2]
    torch.testing.assert_close(torch.cat(encoded), features_of(model, frames))


@pytest.mark.parametrize("ahead", [0, 2])
def test_an_error_of_the_decoder_is_raised_after_the_chunks_before_it(frames: np.ndarray, ahead: int) -> None:
    def chunks() -> Iterator[np.ndarray]:
        yield frames
        raise DecodeError("video.mp4", "corrupt")

    encoded = encoder(TinyFeatures()).encode_chunks(chunks(), ahead=ahead)
    assert len(next(encoded)) == 10
    with pytest.raises(DecodeError, match=r"video\.mp4"):
        next(encoded)


def test_closing_ends_the_decoder_before_it_returns(frames: np.ndarray) -> None:
    """The video can be closed afterwards."""
    ended = threading.Event()

    def chunks() -> Iterator[np.ndarray]:
        try:
            while True:
                yield frames
        finally:
            ended.set()

    with closing(encoder(TinyFeatures()).encode_chunks(chunks(), ahead=1)) as encoded:
        next(encoded)
    assert ended.is_set()


def test_the_chunk_size_is_the_caller_s_or_the_common_one() -> None:
    model = TinyFeatures()
    assert FrameEncoder(model, Normalization(MEAN, STD), torch.device("cpu")).chunk_size == CHUNK_FRAMES
    assert FrameEncoder(model, Normalization(MEAN, STD), torch.device("cpu"), chunk_frames=7).chunk_size == 7


def test_threads_encode_one_after_another(frames: np.ndarray) -> None:
    computing = threading.Lock()

    class Alone(TinyFeatures):
        def encode_frames(self, frames: Tensor) -> Tensor:
            assert computing.acquire(blocking=False), "two threads compute at the same time"
            try:
                return super().encode_frames(frames)
            finally:
                computing.release()

    shared, results = encoder(Alone()), []
    threads = [threading.Thread(target=lambda: results.append(shared.encode(frames))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
