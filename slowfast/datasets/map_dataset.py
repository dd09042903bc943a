"""An adapter for map-style data sets of a user, PySlowFast's included.

N videos, K classes, T frames, H W pixels.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slowfast.datasets.annotations import PathTable
from slowfast.datasets.clip import BrokenVideo, Clip
from slowfast.datasets.video_dataset import Item, ViewDataset
from slowfast.datasets.views.augment import preserved_generators
from slowfast.datasets.views.frame_order import GIVEN, order_frames
from slowfast.errors import DataError, shown
from slowfast.log import get_logger

_logger = get_logger(__name__)

# Attributes that may hold labels and paths: our own name, PySlowFast's, torchvision's.
_LABEL_NAMES = ("labels", "_labels", "targets")
_PATH_NAMES = ("paths", "_path_to_videos")


class MapDataset(ViewDataset):
    """The items of a user's ``torch.utils.data.Dataset``, as the engine uses them.

    The data set needs ``__len__``, ``__getitem__(i)`` with an integer, and ``labels`` (or PySlowFast's
    ``_labels``). It may have ``paths`` (or ``_path_to_videos``), which appear in logs and predictions, and
    ``num_views`` (or ``_num_clips``): item i is then view ``i % num_views`` of video ``i // num_views``.

    An item is a :class:`~slowfast.datasets.clip.Clip`, or a tuple that begins with frames and label, such as
    PySlowFast's ``(frames, label, index, time_idx, {})``. The frames of a tuple are (3, T, H, W), or a list
    that holds them alone, or a list of them and their positions (T,). They are uint8, or float normalised by
    ``DATA.MEAN`` and ``DATA.STD``. The label of an item has the form of ``labels``.
    :class:`~slowfast.errors.DecodeError` or ``OSError`` mark a broken video.

    The generators of Python, NumPy and torch are seeded by epoch and index while an item is read, so that a
    resumed run reads the same clips.

    Args:
        dataset: the user's.
        name: of the data set in the registry, for messages.
        num_classes: K.
        position_step: difference of the positions of consecutive frames, for tuples without positions.
        mean, std: ``DATA.MEAN`` and ``DATA.STD``.
        substitute, seed, frame_order: see :class:`~slowfast.datasets.video_dataset.ViewDataset`.

    Raises:
        DataError: where the data set lacks something; the message states what to add.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        name: str,
        num_classes: int,
        position_step: float = 1.0,
        mean: Sequence[float] = (0.45, 0.45, 0.45),
        std: Sequence[float] = (0.225, 0.225, 0.225),
        substitute: bool = False,
        seed: int = 0,
        frame_order: str = GIVEN,
    ) -> None:
        self._dataset = dataset
        self._name = f"data set {name!r}: {type(dataset).__name__}"
        self.num_videos, self.num_views = self._count_videos()
        paths = self._find_per_video(_PATH_NAMES)
        if paths is None:
            paths = [f"{name}[{video}]" for video in range(self.num_videos)]
        table = PathTable.from_strings([str(path) for path in paths])
        super().__init__(table, self.num_views, substitute=substitute, seed=seed, frame_order=frame_order)
        self._position_step = position_step
        self._mean = torch.tensor(mean).view(3, 1, 1, 1)
        self._std = torch.tensor(std).view(3, 1, 1, 1)
        self._labels = self._find_labels(num_classes)
        self._num_classes = num_classes
        self._is_range_logged = False

    @property
    def labels(self) -> np.ndarray:
        return self._labels

    def _count_videos(self) -> tuple[int, int]:
        """Returns the number of videos, and of views per video."""
        for method in ("__len__", "__getitem__"):
            if not hasattr(self._dataset, method):
                raise DataError(
                    f"{self._name} must be slowfast.datasets.annotations.Annotations, which the registered "
                    f"function returns, or a map-style data set; a map-style one needs the method {method}"
                )
        num_items = len(self._dataset)
        num_views = int(getattr(self._dataset, "num_views", getattr(self._dataset, "_num_clips", 1)))
        if num_items == 0:
            raise DataError(f"{self._name} has no items; check DATA.PATH_TO_DATA_DIR")
        if num_views < 1 or num_items % num_views:
            raise DataError(
                f"{self._name} has {num_items} items, not a multiple of its {num_views} views per video; "
                "correct its attribute num_views"
            )
        return num_items // num_views, num_views

    def _find_per_video(self, names: Sequence[str]) -> Sequence[Any] | None:
        """Returns the first of the attributes that the data set has, one value per video."""
        for name in names:
            values = getattr(self._dataset, name, None)
            if values is None:
                continue
            if len(values) == len(self) and self.num_views > 1:
                values = values[:: self.num_views]  # PySlowFast repeats them for each view
            if len(values) != self.num_videos:
                raise DataError(
                    f"{self._name}.{name} has {len(values)} values, but there are {self.num_videos} videos; "
                    "give one value per video"
                )
            return values
        return None

    def _find_labels(self, num_classes: int) -> np.ndarray:
        labels = self._find_per_video(_LABEL_NAMES)
        if labels is None:
            raise DataError(
                f"{self._name} has no labels; add an attribute `labels` with the class index of each of its "
                f"{self.num_videos} videos, or an array (N, K) of zeros and ones"
            )
        try:
            array: np.ndarray = np.asarray([np.asarray(label) for label in labels], np.float32)
        except (ValueError, TypeError):  # rows of different lengths, or text
            array = np.empty(0)
        if array.shape == (self.num_videos, num_classes) and np.isin(array, (0, 1)).all():
            return array
        if array.shape != (self.num_videos,) or not np.isin(array, np.arange(num_classes)).all():
            raise DataError(
                f"{self._name} has wrong labels; give an integer from 0 to {num_classes - 1} "
                f"(MODEL.NUM_CLASSES) per video, or an array ({self.num_videos}, {num_classes}) of zeros "
                "and ones"
            )
        return array.astype(np.int32)

    def _read_view(self, video_id: int, view_id: int, rng: np.random.Generator) -> Item:
        index = video_id * self.num_views + view_id
        seed = int(rng.integers(2**32))
        # An augmentation may have parameters; tensors that record gradients cannot leave a worker process.
        with preserved_generators(), torch.random.fork_rng(devices=[]), torch.no_grad():
            random.seed(seed)
            np.random.seed(seed)
            torch.default_generator.manual_seed(seed)
            try:
                item = self._dataset[index]
            except Exception as error:
                error.add_note(f"{self._name}[{index}] was read")
                raise
            except SystemExit as error:  # it would end the process, as if the loader had
                raise DataError(
                    f"{self._name}[{index}] calls sys.exit({error.code!r}); raise an exception instead, or "
                    "slowfast.errors.DecodeError for a broken video"
                ) from error
        if isinstance(item, BrokenVideo):
            return replace(item, video_id=video_id)
        clip = self._as_clip(item, index, video_id, view_id)
        order = order_frames(self._frame_order, clip.frames.shape[1], rng)
        return clip if order is None else clip.reordered(order)

    def _as_clip(self, item: Any, index: int, video_id: int, view_id: int) -> Clip:
        if isinstance(item, Clip):
            label, positions = self._label(item.label, index), self._positions(item.positions, index)
            return replace(item, label=label, positions=positions, video_id=video_id, view_id=view_id)
        if not isinstance(item, tuple | list) or len(item) < 2:
            raise DataError(
                f"{self._name}[{index}] is of type {type(item).__name__}; return a "
                "slowfast.datasets.clip.Clip or a tuple (frames, label, index, time_idx, {})"
            )
        frames, positions = self._frames(item[0], index)
        if positions is None:
            steps = torch.arange(frames.shape[1], dtype=torch.float64) * self._position_step
            positions = steps.round().to(torch.int64)
        return Clip(frames, positions, self._label(item[1], index), video_id, view_id)

    def _label(self, given: Any, index: int) -> int | Tensor:
        """Returns the class index, or (K,) float32, in the form of the attribute ``labels``."""
        try:
            value = torch.as_tensor(given)
        except (TypeError, ValueError, RuntimeError):  # such as text
            value = torch.empty(0)
        if self._labels.ndim == 2:
            values = value.to(torch.float32)
            if value.shape == (self._num_classes,) and ((values >= 0) & (values <= 1)).all():
                return values
            wanted = f"({self._num_classes},) numbers from 0 to 1"
        else:
            indices = _as_integers(value.reshape(-1))
            if indices is not None and len(indices) == 1 and 0 <= int(indices) < self._num_classes:
                return int(indices)
            wanted = f"an integer from 0 to {self._num_classes - 1}"
        raise DataError(
            f"{self._name}[{index}] has the label {shown(given)}; it must be {wanted}, "
            "because the attribute `labels` has this form"
        )

    def _positions(self, given: Tensor, index: int) -> Tensor:
        """Returns positions (T,) as int64."""
        positions = _as_integers(given)
        if positions is None:
            raise DataError(
                f"{self._name}[{index}] has positions that are not integers, such as {given[:3].tolist()}; "
                "give frame indices, or rounded products of seconds and the model's position rate"
            )
        return positions

    def _frames(self, given: Any, index: int) -> tuple[Tensor, Tensor | None]:
        """Returns frames (3, T, H, W), uint8 or float32 in 0 … 255, and positions (T,) int64 where given."""
        try:
            parts = [
                torch.as_tensor(part) for part in (given if isinstance(given, list | tuple) else [given])
            ]
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(
                f"{self._name}[{index}] has frames of type {type(given).__name__}; they must be a tensor (3, "
                "T, H, W)"
            ) from error
        frames = parts[0] if parts else torch.empty(0)
        positions = parts[1] if len(parts) == 2 and parts[1].ndim == 1 else None
        if len(parts) > 1 and positions is None:
            raise DataError(
                f"{self._name}[{index}] has {len(parts)} tensors of frames; return only the one with all "
                "frames: a model with several pathways makes the others of it"
            )
        if frames.ndim != 4 or frames.shape[0] != 3:
            raise DataError(
                f"{self._name}[{index}] has frames of shape {tuple(frames.shape)}; they must be (3, T, H, W)"
            )
        if positions is not None and len(positions) != frames.shape[1]:
            raise DataError(
                f"{self._name}[{index}] has {len(positions)} positions; give one for each of its "
                f"{frames.shape[1]} frames"
            )
        if frames.dtype != torch.uint8:
            frames = self._denormalized(frames, index)
        return frames, None if positions is None else self._positions(positions, index)

    def _denormalized(self, frames: Tensor, index: int) -> Tensor:
        """Returns normalised frames as float32 in 0 … 255: the engine normalises frames itself."""
        if not frames.is_floating_point():
            raise DataError(
                f"{self._name}[{index}] has frames of dtype {frames.dtype}; they must be uint8 in 0 … 255, "
                "or float normalised by DATA.MEAN and DATA.STD"
            )
        frames = (frames.to(torch.float32) * self._std + self._mean) * 255.0
        if not self._is_range_logged and frames.numel():
            low, high = (float(bound) for bound in torch.aminmax(frames))
            # Augmented frames may leave the range a little.
            if low < -255.0 or high > 510.0:
                self._is_range_logged = True
                _logger.warning(
                    "%s[%d]: its float frames stand for pixels of %.0f to %.0f, instead of 0 to 255; "
                    "normalise them by DATA.MEAN and DATA.STD, or return uint8",
                    self._name, index, low, high,
                )  # fmt: skip
        return frames


def _as_integers(values: Tensor) -> Tensor | None:
    """Returns values as int64; None where one is not an integer."""
    integers = values.to(torch.int64)
    return integers if values.isfinite().all() and (integers == values).all() else None
