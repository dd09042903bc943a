"""Statistics of features over time, compared with numpy on the real frames alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from slowfast.features.temporal_statistics import (
    absolute_differences,
    append_differences,
    masked_mean_and_std,
    temporal_statistics,
)


def clips(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def expected(frames: np.ndarray) -> np.ndarray:
    """Returns the statistics of one clip (T, F)."""
    lagged = [np.abs(frames[lag:] - frames[:-lag]) for lag in (1, 4)]
    means = [d.mean(axis=0) if len(d) else np.zeros(frames.shape[1]) for d in lagged]
    return np.concatenate([frames.mean(axis=0), frames.std(axis=0), *means])


def test_the_statistics_are_those_of_the_real_frames() -> None:
    features, lengths = clips(4, 9, 3), [9, 6, 3, 1]
    mask = torch.arange(9) < torch.tensor(lengths)[:, None]
    padded = features.masked_fill(~mask[..., None], 7.0)
    result = temporal_statistics(padded, mask)
    for row, clip, length in zip(result, features, lengths, strict=True):
        np.testing.assert_allclose(row, expected(clip[:length].numpy()), atol=1e-12)


def test_without_a_mask_all_frames_are_real() -> None:
    features = clips(2, 7, 3)
    torch.testing.assert_close(
        temporal_statistics(features), temporal_statistics(features, torch.ones(2, 7).bool())
    )


def test_tokens_are_averaged_after_the_deviations_and_differences() -> None:
    features = clips(2, 7, 4, 3)
    by_token = torch.stack([temporal_statistics(features[:, :, m]) for m in range(4)])
    torch.testing.assert_close(temporal_statistics(features), by_token.mean(dim=0))


def test_differences_have_no_value_beside_a_missing_frame() -> None:
    features = clips(1, 5, 2)
    mask = torch.tensor([[True, True, False, True, True]])
    differences = absolute_differences(features, mask)[0]
    assert differences[[0, 2, 3]].abs().sum() == 0
    torch.testing.assert_close(differences[[1, 4]], (features[0, [1, 4]] - features[0, [0, 3]]).abs())


def test_two_frames_have_one_difference() -> None:
    features = clips(1, 2, 3)
    expected = torch.stack([torch.zeros_like(features[:, 0]), (features[:, 1] - features[:, 0]).abs()], dim=1)
    torch.testing.assert_close(absolute_differences(features), expected)


@pytest.mark.parametrize("length", [1, 3])
def test_features_that_do_not_change_have_a_finite_gradient(length: int) -> None:
    features = torch.ones(2, length, 3, requires_grad=True)
    mean, std = masked_mean_and_std(features)
    (mean.sum() + std.sum()).backward()
    assert std.abs().sum() == 0
    assert features.grad is not None
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(2, 6, 3), (2, 6, 4, 3), (2, 1, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_differences_are_appended_with_and_without_gradients(shape: tuple[int, ...], masked: bool) -> None:
    features = clips(*shape)
    mask = torch.arange(shape[1]) < torch.tensor([[6], [4]]) if masked else None
    expected = torch.cat([features, absolute_differences(features, mask)], dim=-1)
    torch.testing.assert_close(append_differences(features, mask), expected)
    learned = features.clone().requires_grad_()
    result = append_differences(learned, mask)
    torch.testing.assert_close(result.detach(), expected)
    result.sum().backward()
    assert learned.grad is not None


def test_autocast_does_not_round_the_statistics() -> None:
    features = clips(3, 9, 5).float() + 100
    mask = torch.arange(9) < torch.tensor([[9], [6], [2]])
    with torch.autocast("cpu", torch.bfloat16):
        rounded = temporal_statistics(features, mask)
    torch.testing.assert_close(rounded, temporal_statistics(features, mask))


@pytest.mark.parametrize(("dtype", "length"), [(torch.float16, 70_000), (torch.bfloat16, 259)])
def test_means_in_16_bits_are_over_the_exact_number_of_frames(dtype: torch.dtype, length: int) -> None:
    """70,000 is infinite in float16, and 259 is 260 in bfloat16."""
    features = torch.full((1, length, 2), 8.0, dtype=dtype)
    mask = torch.ones(1, length, dtype=torch.bool)
    mean, deviation = masked_mean_and_std(features, mask)
    torch.testing.assert_close(mean, features[:, 0], atol=0, rtol=2 * torch.finfo(dtype).eps)
    assert (deviation < 0.1).all()
