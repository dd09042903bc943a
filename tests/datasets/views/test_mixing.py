"""Mixup and CutMix: the mixed pairs, which are a function of seed, epoch, step and pair alone."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest
import torch

from slowfast.datasets.clip import ClipBatch
from slowfast.datasets.views.mixing import BatchMixer, build_mixer
from slowfast.models.losses import soft_cross_entropy
from slowfast.models.objective.training_loss import build_training_loss
from tests.support.configs import make_config

K = 5


def mixer(**changes: Any) -> BatchMixer:
    settings = {
        "mixup_alpha": 0.8,
        "cutmix_alpha": 1.0,
        "prob": 1.0,
        "switch_prob": 0.5,
        "label_smoothing": 0.0,
    }
    return BatchMixer(num_classes=K, seed=3, **(settings | changes))


def make_batch(
    size: int = 8, labels: torch.Tensor | None = None, mask: torch.Tensor | None = None
) -> ClipBatch:
    """Returns clips of grey 10 × i and class i mod K, in the memory layout of the loader."""
    frames = torch.zeros(size, 4, 16, 24, 3, dtype=torch.uint8)
    frames += (10 * torch.arange(size, dtype=torch.uint8)).view(-1, 1, 1, 1, 1)
    index = torch.arange(size)
    return ClipBatch(
        frames=frames.permute(0, 4, 1, 2, 3),
        positions=torch.arange(4).repeat(size, 1),
        mask=mask,
        label=index % K if labels is None else labels,
        video_id=index,
        view_id=torch.zeros_like(index),
    )


def test_mixup_weights_pixels_and_labels_alike() -> None:
    batch = make_batch()
    mixed = mixer(cutmix_alpha=0.0)(batch, epoch=1, step=2)
    for a, b in ((0, 1), (2, 3), (4, 5), (6, 7)):
        fraction = mixer(cutmix_alpha=0.0).draw(1, 2, a // 2, 16, 24).fraction
        expected = torch.zeros(K)
        expected[a % K] += fraction
        expected[b % K] += 1 - fraction
        assert torch.allclose(mixed.label[a], expected)
        assert (mixed.frames[a] == round(10 * (fraction * a + (1 - fraction) * b))).all()
        assert torch.allclose(
            mixed.label[a] + mixed.label[b], batch_labels(batch)[a] + batch_labels(batch)[b]
        )
    assert mixed.frames.dtype == torch.uint8
    assert mixed.frames.stride() == batch.frames.stride()
    assert (batch.frames[3] == 30).all()  # what came in is left alone


def batch_labels(batch: ClipBatch) -> torch.Tensor:
    return torch.nn.functional.one_hot(batch.label, K).float()


def test_cutmix_swaps_a_box_in_all_frames_and_weighs_labels_by_its_area() -> None:
    mixed = mixer(mixup_alpha=0.0)(make_batch(), epoch=0, step=0)
    boxes = 0
    for a, b in ((0, 1), (2, 3), (4, 5), (6, 7)):
        foreign = mixed.frames[a] == 10 * b
        assert (foreign | (mixed.frames[a] == 10 * a)).all()
        assert (foreign == foreign[:1, :1]).all()
        fraction = 1 - foreign.float().mean().item()
        assert mixed.label[a][a % K].item() == pytest.approx(fraction, abs=1e-6)
        assert torch.equal(mixed.frames[b] == 10 * a, foreign)
        boxes += 0 < fraction < 1
    assert boxes >= 3


def test_labels_are_smoothed_and_sum_to_one() -> None:
    mixed = mixer(label_smoothing=0.1, prob=0.0)(make_batch(), epoch=0, step=0)
    assert torch.allclose(mixed.label[2], torch.tensor([0.02, 0.02, 0.92, 0.02, 0.02]))
    assert torch.equal(mixed.frames, make_batch().frames)
    assert soft_cross_entropy(torch.randn(8, K), mixed.label).ndim == 0


@pytest.mark.parametrize("loss", ["bce_logit", "soft_cross_entropy"])
def test_several_labels_are_smoothed_as_without_mixing(loss: str) -> None:
    """Labels that are not mixed have the loss that LOSS.LABEL_SMOOTHING gives."""
    labels = torch.tensor([[1.0, 1, 0, 0, 0], [0, 1, 1, 0, 0]])
    several = {"DATA.MULTI_LABEL": True, "MODEL.LOSS_FUNC": loss, "MODEL.HEAD_ACT": "sigmoid"}
    several["MODEL.NUM_CLASSES"] = K
    mixing = make_config(several, "MIXUP.ENABLE", True, "MIXUP.LABEL_SMOOTH_VALUE", 0.2, "MIXUP.PROB", 0.0)
    built = build_mixer(mixing, rank=0, batch_size=2)
    mixed = built(make_batch(2, labels), epoch=0, step=0)
    smoothing = make_config(several, "LOSS.LABEL_SMOOTHING", 0.2)
    logits = torch.randn(2, K)
    found = build_training_loss(mixing, labels.numpy())(logits, mixed.label)
    torch.testing.assert_close(found, build_training_loss(smoothing, labels.numpy())(logits, labels))


def test_several_labels_are_mixed() -> None:
    labels = torch.tensor([[1.0, 1, 0, 0, 0], [0, 1, 1, 0, 0]])
    mixed = mixer(cutmix_alpha=0.0)(make_batch(2, labels), epoch=0, step=0)
    assert torch.allclose(mixed.label.sum(0), labels.sum(0))
    assert mixed.label[0, 1].item() == pytest.approx(1.0)


def test_one_process_and_two_mix_pairs_alike() -> None:
    batch = make_batch()
    full = mixer()(batch, epoch=4, step=9)
    cfg = make_config({"MIXUP.ENABLE": True, "MODEL.NUM_CLASSES": K, "MODEL.LOSS_FUNC": "soft_cross_entropy"})
    ranks = [build_mixer(cfg, rank=rank, batch_size=4) for rank in (0, 1)]
    assert [built.first_pair for built in ranks if built] == [0, 2]
    halves = [batch.map_tensors(operator.itemgetter(slice(i, i + 4))) for i in (0, 4)]
    parts = [mixer(first_pair=2 * rank)(half, epoch=4, step=9) for rank, half in enumerate(halves)]
    assert torch.equal(torch.cat([part.frames for part in parts]), full.frames)
    assert torch.equal(torch.cat([part.label for part in parts]), full.label)
    assert not torch.equal(mixer()(batch, epoch=4, step=10).frames, full.frames)
    assert not torch.equal(mixer()(batch, epoch=5, step=9).frames, full.frames)


def test_a_last_odd_clip_and_pairs_of_different_lengths_stay_unchanged() -> None:
    mask = torch.ones(5, 4, dtype=torch.bool)
    mask[1, 2:] = False
    mixed = mixer(cutmix_alpha=0.0)(make_batch(5, mask=mask), epoch=0, step=0)
    unchanged = [bool((mixed.frames[i] == 10 * i).all()) for i in range(5)]
    assert unchanged == [True, True, False, False, True]
    assert mixed.label[4].tolist() == [0, 0, 0, 0, 1]


def test_fractions_follow_the_beta_distribution_and_switching() -> None:
    draws = [mixer().draw(0, step, 0, 224, 224) for step in range(2000)]
    boxed = [mix for mix in draws if mix.box is not None]
    assert len(boxed) == pytest.approx(1000, abs=100)
    plain = np.array([mix.fraction for mix in draws if mix.box is None])
    assert plain.mean() == pytest.approx(0.5, abs=0.03)
    assert plain.var() == pytest.approx(1 / (4 * (2 * 0.8 + 1)), abs=0.01)  # of Beta(0.8, 0.8)


def test_boxes_have_the_mean_area_of_the_definition() -> None:
    """A box of side c, whose centre is uniform, has c − c² / 4 of each side inside the image in the mean.

    With c² uniform, as for alpha 1, its area is 1/2 − 1/5 + 1/48 of the image in the mean.
    """
    draws = [mixer(mixup_alpha=0.0).draw(0, step, 0, 224, 224) for step in range(4000)]
    foreign = np.array([1 - mix.fraction for mix in draws])
    assert foreign.mean() == pytest.approx(1 / 2 - 1 / 5 + 1 / 48, abs=0.01)
