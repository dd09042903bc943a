"""Data for the trainer of ``transformers``: batches of clips of any lengths, and this package's data sets.

B clips, T frames, H W pixels, M tokens of a frame, F width of a feature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from slowfast.datasets.clip import BrokenVideo, Clip, Normalization, StreamedClip, normalize
from slowfast.datasets.loading.samplers import SampleRef
from slowfast.errors import DecodeError, InputError
from slowfast.features.batch import FeatureClip

_INPUTS = ("pixel_values_videos", "features")


class VideoCollator:
    """A ``data_collator`` for :class:`vtn.transformers.VTNForVideoClassification`.

    Items are mappings of ``pixel_values_videos`` (T, 3, H, W) or ``features`` (T, F) or (T, M, F), and where
    they have them ``positions`` (T,) and ``labels``. Shorter ones are padded with zeros and masked.

    >>> items = [{"features": torch.ones(length, 4), "labels": 1} for length in (2, 3)]
    >>> batch = VideoCollator()(items)
    >>> batch["features"].shape, batch["mask"].tolist()
    (torch.Size([2, 3, 4]), [[True, True, False], [True, True, True]])
    """

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Returns a batch: inputs (B, T, …), ``positions`` (B, T), ``mask`` (B, T) bool, and ``labels``.

        Raises:
            InputError: for items without frames and features, for items of both kinds, and for positions or
                labels in some items alone.
        """
        names = {name for item in items for name in _INPUTS if name in item}
        if len(names) != 1 or any(names.isdisjoint(item) for item in items):
            raise InputError("each item must have pixel_values_videos, or each must have features")
        (name,) = names
        sequences = [_as_tensor(item[name]) for item in items]
        lengths = [len(sequence) for sequence in sequences]
        batch = {name: pad_sequence(sequences, batch_first=True)}
        if positions := _of_all("positions", items):
            batch["positions"] = pad_sequence(positions, batch_first=True)
        if min(lengths) != max(lengths):
            batch["mask"] = torch.arange(max(lengths), device="cpu") < _as_tensor(lengths)[:, None]
        if labels := _of_all("labels", items):
            batch["labels"] = torch.stack(labels)
        return batch


def _as_tensor(value: Any) -> Tensor:
    """Returns a tensor as it is, and one of other values in host memory, whatever the default device."""
    return value if isinstance(value, Tensor) else torch.as_tensor(value, device="cpu")


def _of_all(name: str, items: Sequence[Mapping[str, Any]]) -> list[Tensor]:
    """Returns an entry of each item; empty where none has it."""
    found = [_as_tensor(item[name]) for item in items if name in item]
    if 0 < len(found) < len(items):
        raise InputError(f"{name}: {len(found)} of {len(items)} items have them: give them in all or none")
    return found


class TrainerDataset(Dataset[dict[str, Any]]):
    """A data set of ``slowfast.datasets.build_dataset`` for the trainer of ``transformers``, and other loops.

    Each reading of a training video gives another clip, which torch's generator draws; in the workers of a
    ``DataLoader`` each has its own generator, seeded by that of the main process.

    Args:
        dataset: of clips of frames, or of cached features.
        mean, std: normalisation of frames, as of the model; features are used as they are.
    """

    def __init__(self, dataset: Any, mean: Sequence[float], std: Sequence[float]) -> None:
        self._dataset = dataset
        self._normalization = Normalization(tuple(mean), tuple(std))

    def __len__(self) -> int:
        """Returns the number of views."""
        return len(self._dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns an item for :class:`VideoCollator`.

        Raises:
            DecodeError: for a video that cannot be decoded.
            InputError: for a view that is longer than ``TRAIN.EVAL_STREAM_FRAMES``.
        """
        # The engine names the epoch, by which its clips differ; other loops name none.
        epoch = int(torch.randint(2**31, (), device="cpu")) if self._dataset.is_for_training else 0
        clip = self._dataset[SampleRef(epoch, index)]
        if isinstance(clip, BrokenVideo):
            raise DecodeError(clip.path, clip.reason, clip.detail)
        if isinstance(clip, StreamedClip):
            raise InputError(
                f"TRAIN.EVAL_STREAM_FRAMES: must be {len(clip.view.indices)} or more, or 0, for the trainer "
                "of transformers, which takes all frames of a video at once"
            )
        item = {"positions": clip.positions, "labels": clip.label}
        if isinstance(clip, FeatureClip):
            return {"features": clip.features, **item}
        assert isinstance(clip, Clip)
        return {
            "pixel_values_videos": normalize(clip.frames[None], *self._normalization)[0].transpose(0, 1),
            **item,
        }
