"""Map-style data sets of a user: the clips that their items become, and what they must have."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from slowfast.datasets.clip import BrokenVideo, Clip
from slowfast.datasets.loading.samplers import SampleRef
from slowfast.datasets.map_dataset import MapDataset
from slowfast.errors import DataError, DecodeError


class Items:
    """A map-style data set of the given items."""

    def __init__(self, *items: Any, **attributes: Any) -> None:
        self.items = items
        self.labels = [0] * len(items)
        vars(self).update(attributes)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        item = self.items[index]
        return item() if callable(item) else item


def clip_of(*items: Any, index: int = 0, **options: Any) -> Clip:
    clip = MapDataset(Items(*items), name="mine", num_classes=3, **options)[index]
    assert isinstance(clip, Clip)
    return clip


PIXELS = torch.randint(0, 256, (3, 4, 8, 8), dtype=torch.uint8)


def test_a_tuple_of_uint8_frames_and_label_is_a_clip() -> None:
    clip = clip_of((PIXELS, 2), position_step=2.5)
    assert torch.equal(clip.frames, PIXELS)
    assert (clip.label, clip.video_id, clip.view_id) == (2, 0, 0)
    assert clip.positions.tolist() == [0, 2, 5, 8]


def test_normalised_frames_as_pyslowfast_returns_them_give_the_pixels_back() -> None:
    mean, std = (0.45, 0.4, 0.35), (0.2, 0.225, 0.25)
    normalised = (PIXELS / 255 - torch.tensor(mean).view(3, 1, 1, 1)) / torch.tensor(std).view(3, 1, 1, 1)
    clip = clip_of(([normalised], torch.tensor(1), 0, torch.zeros(2), {}), mean=mean, std=std)
    torch.testing.assert_close(clip.frames, PIXELS.float(), atol=1e-3, rtol=0)
    assert clip.label == 1


def test_a_second_tensor_of_one_dimension_holds_the_positions() -> None:
    assert clip_of(([PIXELS, torch.tensor([3, 5, 7, 9])], 0)).positions.tolist() == [3, 5, 7, 9]


def test_several_labels_are_a_float_tensor() -> None:
    items = Items((PIXELS, np.array([0, 1, 1])), (PIXELS, [0.25, 0, 0.75]), labels=[[0, 1, 1], [1, 0, 1]])
    dataset = MapDataset(items, name="mine", num_classes=3)
    labels = [dataset[0].label, dataset[1].label]
    assert [torch.is_tensor(label) and label.tolist() for label in labels] == [[0, 1, 1], [0.25, 0, 0.75]]
    assert dataset.labels.tolist() == [[0, 1, 1], [1, 0, 1]]


def test_frames_of_several_sizes_are_refused() -> None:
    with pytest.raises(DataError, match=r"video 0 have 8 × 8 pixels and those of video 1 have 4 × 8; return"):
        Clip.collate([clip_of((PIXELS, 0)), replace(clip_of((PIXELS[:, :, :4], 0)), video_id=1)])


def test_frames_of_several_dtypes_are_refused() -> None:
    """Normalised frames become float, and would wrap around in a batch of bytes."""
    clips = [clip_of((PIXELS, 0)), replace(clip_of((torch.zeros(3, 4, 8, 8), 0)), video_id=1)]
    for order in (clips, clips[::-1]):
        with pytest.raises(DataError, match=r"must have one dtype, but those of video . are torch\.[uf].*8"):
            Clip.collate(order)


def test_float_frames_far_outside_the_range_of_pixels_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    dataset = MapDataset(Items(*[(PIXELS.float(), 0)] * 2), name="mine", num_classes=3)
    with caplog.at_level("WARNING", logger="slowfast"):
        clip_of((torch.randn(3, 4, 8, 8), 0))
        assert caplog.text == ""
        dataset[0], dataset[1]
    assert caplog.text.count("its float frames stand for pixels of ") == 1
    assert "Items[0]: its float" in caplog.text


def test_integers_in_other_dtypes_are_accepted() -> None:
    clip = clip_of(([PIXELS, torch.tensor([0.0, 2.0, 4.0, 6.0])], np.float32(2.0)))
    assert (clip.positions.dtype, clip.positions.tolist(), clip.label) == (torch.int64, [0, 2, 4, 6], 2)
    dataset = MapDataset(Items((PIXELS, 0), labels=[np.float64(2.0)]), name="mine", num_classes=3)
    assert (dataset.labels.dtype, dataset.labels.tolist()) == (np.int32, [2])


def test_clips_get_the_numbers_of_their_video_and_view() -> None:
    clip = Clip(PIXELS, torch.arange(4), 1, video_id=77, view_id=5)
    dataset = MapDataset(Items(*[clip] * 6, num_views=3, labels=[1, 0]), name="mine", num_classes=3)
    assert (dataset.num_videos, dataset.num_views, dataset.labels.tolist()) == (2, 3, [1, 0])
    numbers = [(item.video_id, item.view_id) for item in map(dataset.__getitem__, range(6))]  # type: ignore[union-attr]
    assert numbers == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_the_lists_of_pyslowfast_repeat_each_video_for_its_views() -> None:
    items = Items(*[(PIXELS, 0)] * 4, _num_clips=2, _path_to_videos=["a", "a", "b", "b"])
    del items.labels
    items._labels = [1, 1, 2, 2]
    dataset = MapDataset(items, name="mine", num_classes=3)
    assert (list(dataset.paths), dataset.labels.tolist()) == (["a", "b"], [1, 2])


def test_an_item_is_a_function_of_seed_epoch_and_index() -> None:
    def draw() -> tuple[torch.Tensor, int]:
        frames = torch.randint(0, 256, (3, 2, 4, 4), dtype=torch.uint8)
        return frames, random.randrange(9) + np.random.randint(9)

    dataset = MapDataset(Items(draw, draw), name="mine", num_classes=20, seed=3)
    states = random.getstate(), torch.get_rng_state()

    def drawn(epoch: int, index: int) -> tuple[Any, ...]:
        clip = dataset[SampleRef(epoch, index)]
        return clip.label, clip.frames.tolist()

    first = drawn(0, 0)
    assert drawn(0, 1)[1] != first[1]
    assert drawn(1, 0)[1] != first[1]
    assert drawn(0, 0) == first
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])


def test_frames_of_an_augmentation_with_parameters_record_no_gradients() -> None:
    """Tensors that do cannot be sent from a worker process."""
    gain = torch.nn.Parameter(torch.tensor(0.5))
    assert not clip_of(lambda: (gain * (PIXELS / 255), 0)).frames.requires_grad


def test_an_exception_of_a_data_set_names_the_item() -> None:
    def read() -> None:
        raise KeyError("no such patient")

    with pytest.raises(KeyError) as raised:
        clip_of((PIXELS, 0), read, index=1)
    assert raised.value.__notes__ == ["data set 'mine': Items[1] was read"]


def test_an_item_that_ends_its_process_is_an_error() -> None:
    """A worker of the loader that ends is replaced and tries again, without the cause."""
    with pytest.raises(DataError, match=r"Items\[0\] calls sys\.exit\('no licence'\); raise an exception"):
        clip_of(lambda: sys.exit("no licence"))


def test_broken_videos_are_reported_or_substituted() -> None:
    def fail() -> None:
        raise DecodeError("x.mp4", "corrupt", "no frames")

    items = Items(fail, (PIXELS, 1), paths=["x.mp4", "y.mp4"])
    broken = MapDataset(items, name="mine", num_classes=3)[0]
    assert broken == BrokenVideo(0, "x.mp4", "corrupt", "no frames")
    clip = MapDataset(items, name="mine", num_classes=3, substitute=True)[0]
    assert (clip.video_id, clip.broken[0]) == (1, broken)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (iter([]), "list_iterator must be .*Annotations, .* needs the method __(len|getitem)__"),
        (Items(), "Items has no items"),
        (Items((PIXELS, 0), labels=None), "has no labels; add an attribute `labels`"),
        (Items((PIXELS, 0), labels=[1, 2]), r"Items\.labels has 2 values, but there are 1 videos"),
        (Items(*[(PIXELS, 0)] * 3, num_views=2), "3 items, not a multiple of its 2 views"),
        (Items((PIXELS, 0), labels=[3]), r"has wrong labels; give .* 0 to 2 \(MODEL.NUM_CLASSES\)"),
        (Items((PIXELS, 0), labels=["bow"]), "has wrong labels"),
        (Items((PIXELS, 0), (PIXELS, 0), labels=[[0], [1, 2]]), "has wrong labels"),
        (Items((PIXELS, 0), labels=[[0, 1]]), r"has wrong labels; .* or an array \(1, 3\)"),
        (Items({"frames": PIXELS}), r"Items\[0\] is of type dict; return a slowfast.datasets.clip.Clip or"),
        (Items((None, 0)), r"Items\[0\] has frames of type NoneType; they must be a tensor \(3, T, H, W\)"),
        (Items(("a.mp4", 0)), r"Items\[0\] has frames of type str; they must be a tensor \(3, T, H, W\)"),
        (Items(([PIXELS[:, ::4], PIXELS], 0)), "2 tensors of frames; return only the one with all frames"),
        (Items((PIXELS.transpose(0, 1), 0)), r"shape \(4, 3, 8, 8\); they must be \(3, T, H, W\)"),
        (Items(([PIXELS, torch.arange(3)], 0)), "3 positions; give one for each of its 4 frames"),
        (Items((PIXELS.long(), 0)), r"Items\[0\] has frames of dtype torch.int64; they must be uint8 in 0"),
        (Items((PIXELS > 99, 0)), r"has frames of dtype torch.bool"),
        (Items(([PIXELS, torch.arange(4) + 0.4], 0)), r"positions that are not integers, such as \[0.4"),
        (Items(Clip(PIXELS, torch.arange(4) / 2, 0, 0)), "positions that are not integers"),
        (Items((PIXELS, 0), labels=[0.2]), "has wrong labels"),
        (Items((PIXELS, 0), labels=[float("nan")]), "has wrong labels"),
        (Items((PIXELS, 3)), r"Items\[0\] has the label 3; it must be an integer from 0 to 2, because"),
        (Items(Clip(PIXELS, torch.arange(4), -1, 0)), "has the label -1; it must be an integer from 0 to 2"),
        (Items((PIXELS, 1.5)), "has the label 1.5; it must be an integer"),
        (Items((PIXELS, "bow")), "has the label 'bow'; it must be an integer"),
        (
            Items((PIXELS, [0, 1, 0])),
            r"has the label \[0, 1, 0\]; it must be an integer from 0 to 2, because",
        ),
        (Items((PIXELS, 1), labels=[[0, 1, 0]]), r"has the label 1; it must be \(3,\) numbers from 0 to 1"),
        (Items((PIXELS, [0, 1]), labels=[[0, 1, 0]]), r"has the label \[0, 1\]; it must be \(3,\)"),
        (Items((PIXELS, [0, 2, 0]), labels=[[0, 1, 0]]), r"must be \(3,\) numbers from 0 to 1"),
    ],
)
def test_what_a_data_set_lacks_is_one_sentence(dataset: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        MapDataset(dataset, name="mine", num_classes=3)[0]
    assert str(caught.value).startswith("data set 'mine': ")
