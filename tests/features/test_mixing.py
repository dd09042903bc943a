"""Mixup of features: pairs are aligned in time, whatever their lengths, and labels are mixed alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from slowfast.config import load_config
from slowfast.datasets.clip import BrokenVideo
from slowfast.datasets.loading.loader import collate
from slowfast.datasets.views.mixing import BatchMixer
from slowfast.errors import ConfigError
from slowfast.features.batch import FeatureClip, FeatureMixer, mix_features

K = 3


def clip(number: int, length: int) -> FeatureClip:
    """Returns a clip whose features are (i + 0.5) / length: the time of frame i in the clip."""
    times = (torch.arange(length) + 0.5) / length
    return FeatureClip(times[:, None], torch.arange(length), number % K, number)


def mixer(**changes: Any) -> FeatureMixer:
    alphas = {"mixup_alpha": 0.8, "cutmix_alpha": 0.0}
    own = BatchMixer(num_classes=K, seed=3, **alphas, prob=1.0, switch_prob=0.5, label_smoothing=0.0)
    return FeatureMixer(replace(own, **changes))


def test_frames_are_mixed_with_those_at_the_same_time_of_a_partner_of_another_length() -> None:
    batch = FeatureClip.collate([clip(0, 8), clip(1, 4)])
    mixed = mix_features(batch.features, batch.mask, [0.25])
    long, short = batch.features[0, :8, 0], batch.features[1, :4, 0]
    torch.testing.assert_close(mixed[0, :, 0], 0.25 * long + 0.75 * short.repeat_interleave(2))
    torch.testing.assert_close(mixed[1, :4, 0], 0.25 * short + 0.75 * long[1::2])
    assert mixed[1, 4:].abs().sum() == 0  # padding stays


def test_labels_are_mixed_in_the_same_proportion_and_an_odd_clip_stays() -> None:
    batch = FeatureClip.collate([clip(number, 4 + number) for number in range(5)])
    half = replace(batch, features=batch.features.half())
    assert mixer()(half, epoch=1, step=2).features.dtype == torch.float32
    mixed = mixer()(batch, epoch=1, step=2)
    fractions = mixer().fractions(2, 1, 2)
    assert 0 < fractions[0] < 1
    torch.testing.assert_close(mixed.label[0], torch.tensor([fractions[0], 1 - fractions[0], 0]))
    assert mixed.label[4].tolist() == [0, 1, 0]
    torch.testing.assert_close(mixed.features, mix_features(batch.features, batch.mask, fractions))
    torch.testing.assert_close(mixed.features[4], batch.features[4])
    assert mixed.mask is batch.mask


def test_the_mixture_depends_on_the_pair_and_not_on_the_process() -> None:
    clips = [clip(number, 5) for number in range(8)]
    full = mixer()(FeatureClip.collate(clips), epoch=4, step=9)
    second = mixer(first_pair=2)(FeatureClip.collate(clips[4:]), epoch=4, step=9)
    torch.testing.assert_close(second.features, full.features[4:])
    torch.testing.assert_close(second.label, full.label[4:])


@pytest.mark.parametrize("tokens", [1, 3])
def test_a_pair_whose_fraction_is_1_stays(tokens: int) -> None:
    features = torch.randn(4, 5, tokens, 4).squeeze(2)
    mixed = mix_features(features, None, [1.0, 0.3])
    torch.testing.assert_close(mixed[:2], features[:2])
    torch.testing.assert_close(mixed[2:], 0.3 * features[2:] + 0.7 * features[[3, 2]])


FEATURES = [
    "TRAIN.DATASET", "features", "TEST.DATASET", "features", "VTN.BACKBONE.NAME", "precomputed",
    "VTN.BACKBONE.ARGS.feature_dim", "8",
]  # fmt: skip


def test_mixup_of_features_and_several_clips_are_accepted_and_cutmix_is_refused() -> None:
    mixup = ("MIXUP.ENABLE", "True", "MODEL.LOSS_FUNC", "soft_cross_entropy")
    mixed = [*FEATURES, *mixup, "AUG.NUM_SAMPLE", "2"]
    assert load_config("SMALL_DATA", [*mixed, "MIXUP.CUTMIX_ALPHA", "0"]).AUG.NUM_SAMPLE == 2
    with pytest.raises(ConfigError, match=r"MIXUP\.CUTMIX_ALPHA = 1\.0: needs pixels, .* set it 0"):
        load_config("SMALL_DATA", mixed)


def test_a_batch_of_broken_videos_alone_stays_as_it_is() -> None:
    """The loader then knows no kind of clip, and makes a batch of frames."""
    batch: Any = collate([BrokenVideo(0, "a.mp4", "no features")])[0]
    assert mixer()(batch, epoch=0, step=0).num_clips == 0
