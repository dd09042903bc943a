"""Annotations: the paths, labels and segments of the videos of a split.

N videos, K classes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slowfast.errors import AnnotationError
from slowfast.video.archive.member import TarMember

if TYPE_CHECKING:
    from slowfast.datasets.shards.member_paths import ShardOrder

# Paths that are hashed or read at a time, which bounds the memory of their bytes.
_HASHED_ROWS = 1 << 16


class PathTable(Sequence[str]):
    """A sequence of paths, stored as one block of bytes in memory that worker processes share.

    A list of Python strings would be copied into each worker page by page, when their reference counts
    change; tensors in shared memory are not copied.

    Args:
        text: (bytes,) uint8; contains all paths, with any bytes between them.
        starts, lengths: (N,) int64 and int32; the offset and length of each path in ``text``.
        prefix: folder in front of relative paths; empty: the working directory.
    """

    def __init__(self, text: Tensor, starts: Tensor, lengths: Tensor, prefix: str = "") -> None:
        self._text, self._starts, self._lengths = (t.share_memory_() for t in (text, starts, lengths))
        self.prefix = prefix

    @staticmethod
    def from_strings(paths: Sequence[str], prefix: str = "") -> PathTable:
        """Returns the table of a list of paths."""
        return PathTable(*encode_paths(paths), prefix)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        start = int(self._starts[index])
        path = self._text[start : start + int(self._lengths[index])].numpy().tobytes()
        return os.path.join(self.prefix, os.fsdecode(path))

    def __iter__(self) -> Iterator[str]:
        # Ten times as fast as one index after another, whose every access to a tensor takes long.
        text = self._text.numpy()
        for first in range(0, len(self), _HASHED_ROWS):
            starts = self._starts[first : first + _HASHED_ROWS].tolist()
            lengths = self._lengths[first : first + _HASHED_ROWS].tolist()
            for start, length in zip(starts, lengths, strict=True):
                yield os.path.join(self.prefix, os.fsdecode(text[start : start + length].tobytes()))

    def find_same(self, index: int) -> NDArray[np.int64]:
        """Returns the indices of all paths that equal the path at ``index``, which is among them."""
        text, starts, lengths = self._text.numpy(), self._starts.numpy(), self._lengths.numpy()
        path = text[starts[index] : starts[index] + lengths[index]]
        found = np.flatnonzero(lengths == lengths[index])
        # Byte by byte from the end, where paths differ most, so that few remain after the first bytes.
        for offset in range(len(path) - 1, -1, -1):
            if len(found) == 1:
                break
            found = found[text[starts[found] + offset] == path[offset]]
        return found

    def content_hash(self) -> bytes:
        """Returns the SHA-256 hash of prefix and paths in their order; takes seconds for ten million."""
        head = os.fsencode(self.prefix) + b"\0"
        return _hash_rows(self._text.numpy(), self._starts.numpy(), self._lengths.numpy(), head)

    def relative_hash(self) -> bytes:
        """Returns the SHA-256 hash of all paths in their order, relative to the folder of them all.

        The hash stays the same where all videos are moved together. Takes seconds for ten million.
        """
        text, starts, lengths = self._text.numpy(), self._starts.numpy(), self._lengths.numpy()
        folder = _common_folder(text, starts, lengths)
        return _hash_rows(text, starts + folder, lengths - folder, b"")


def encode_paths(paths: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
    """Returns text, starts and lengths of paths, see :class:`PathTable`."""
    encoded = [os.fsencode(path) for path in paths]
    lengths = np.array([len(path) for path in encoded], np.int32)
    starts = np.concatenate([[0], np.cumsum(lengths[:-1], dtype=np.int64)])[: len(lengths)]
    text = np.frombuffer(bytearray(b"".join(encoded)), np.uint8)
    return torch.from_numpy(text), torch.from_numpy(starts), torch.from_numpy(lengths)


def pack_labels(labels: Sequence[Sequence[int]], *, several: bool) -> tuple[Tensor, Tensor | None]:
    """Returns ``label_values`` and ``label_starts`` of :class:`Annotations`.

    Args:
        labels: of each video.
        several: whether a video may have several labels.
    """
    values = torch.tensor([label for own in labels for label in own], dtype=torch.int32)
    if not several:
        return values, None
    return values, torch.from_numpy(np.cumsum([0, *map(len, labels)], dtype=np.int64))


def _hash_rows(
    text: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int32], head: bytes
) -> bytes:
    """Returns the SHA-256 hash of ``head``, of the lengths of all paths, and of their bytes."""
    found = hashlib.sha256(head + lengths.tobytes())
    for first in range(0, len(starts), _HASHED_ROWS):
        size = lengths[first : first + _HASHED_ROWS].astype(np.int64)
        before = np.cumsum(size) - size
        # Offsets of all bytes of these paths, one path after another.
        offsets = np.repeat(starts[first : first + _HASHED_ROWS] - before, size) + np.arange(size.sum())
        found.update(text[offsets])
    return found.digest()


def _common_folder(text: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int32]) -> int:
    """Returns the length in bytes, up to its slash, of the longest folder in which all paths lie."""
    if not len(starts):
        return 0
    first = text[starts[0] : starts[0] + lengths[0]]
    common = int(lengths.min())
    for row in range(0, len(starts), _HASHED_ROWS):
        block = text[starts[row : row + _HASHED_ROWS, None] + np.arange(common)]  # (rows, common)
        same = (block == first[:common]).all(axis=0)
        common = common if same.all() else int(same.argmin())
    slashes = np.flatnonzero(first[:common] == ord("/"))
    return int(slashes[-1]) + 1 if len(slashes) else 0


@dataclass(frozen=True)
class Annotations:
    """The videos of one split.

    Attributes:
        paths: N paths.
        label_values: (M,) int32, the labels of all videos one after another.
        label_starts: (N + 1,) int64, video i has the labels from ``label_starts[i]`` up to
            ``label_starts[i + 1]``; None where each video has exactly one.
        num_classes: K.
        segments: (N, 2) float64, start and end in seconds of the segment of each file that is the video;
            None for full files.
        image_fps: images per second of folders of images; None: the paths are video files.
        features: True: the paths are files of features.
        image_template: name of the images, such as ``img_{:05d}.jpg``; empty: all images of a folder.
        groups: N names of groups, such as a column of the list; None without one.
        shards: the tar archives that contain the videos; None for files.
        class_names: K names, where the annotations name all classes; else empty.
    """

    paths: PathTable
    label_values: Tensor
    label_starts: Tensor | None
    num_classes: int
    segments: Tensor | None = None
    image_fps: float | None = None
    features: bool = False
    image_template: str = ""
    groups: PathTable | None = None
    shards: ShardOrder | None = None
    class_names: tuple[str, ...] = ()

    @classmethod
    def from_lists(
        cls,
        paths: Sequence[str],
        labels: Sequence[Any],
        num_classes: int,
        *,
        segments: Sequence[tuple[float, float]] | None = None,
    ) -> Self:
        """Returns the annotations of video files.

        Args:
            labels: the class index of each video; with ``DATA.MULTI_LABEL True`` a list of them.
            segments: start and end in seconds of the part of each file that is the video; None: full files.

        Raises:
            AnnotationError: where the lists differ in length, a class index is out of range or repeated, or
                a segment is not a start and a later end.

        >>> Annotations.from_lists(["a.mp4", "b.mp4"], [[0, 2], [1]], 3, segments=[(0, 4), (2.5, 9)]).label(0)
        tensor([1., 0., 1.])
        """
        lists = {"labels": labels, "segments": paths if segments is None else segments}
        for name, values in lists.items():
            if len(values) != len(paths):
                raise AnnotationError(f"{len(paths)} paths and {len(values)} {name}; give one per path")
        try:
            sizes = [len(label) for label in labels] if np.ndim(labels[0] if len(labels) else 0) else None
            flat = np.asarray(labels if sizes is None else [i for label in labels for i in label])  # (M,)
        except (TypeError, ValueError) as error:
            raise AnnotationError(
                f"the labels {list(labels[:3])}, …: must be one index per video, or a list of them per video"
            ) from error
        if flat.size and (flat.ndim > 1 or flat.dtype.kind not in "iu"):
            raise AnnotationError(f"label {flat[0]!r}: must be a class index, an integer")
        if (wrong := flat[(flat < 0) | (flat >= num_classes)]).size:
            raise AnnotationError(f"label {wrong[0]}: must be 0 to {num_classes - 1}")
        starts = None if sizes is None else torch.from_numpy(np.cumsum([0, *sizes]))
        if sizes is not None and (twice := [label for label in labels if len(set(label)) < len(label)]):
            raise AnnotationError(f"labels {twice[0]}: must be different indices, not a value per class")
        times = None
        if segments is not None:
            if malformed := [segment for segment in segments if np.shape(segment) != (2,)]:
                raise AnnotationError(f"segment {malformed[0]!r}: must be start and end in seconds")
            times = torch.from_numpy(np.array(segments, np.float64).reshape(-1, 2))
            if (late := (~(times[:, 0] < times[:, 1])).nonzero()).numel():
                raise AnnotationError(f"segment {times[late[0, 0]].tolist()}: must end after its start")
        values = torch.from_numpy(flat.astype(np.int32))
        return cls(PathTable.from_strings(list(paths)), values, starts, num_classes, times)

    def __post_init__(self) -> None:
        for tensor in (self.label_values, self.label_starts, self.segments):
            if tensor is not None:
                tensor.share_memory_()

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def names(self) -> Sequence[str]:
        """The path of each video; for videos in shards that of the file it was copied from, where known."""
        if self.shards is None:
            return self.paths
        return [(isinstance(path, TarMember) and path.original) or path for path in self.paths]

    def label(self, video_id: int) -> int | Tensor:
        """Returns the class index, or (K,) float32 of ones and zeros where videos have several labels."""
        if self.label_starts is None:
            return int(self.label_values[video_id])
        start, end = self.label_starts[video_id : video_id + 2].tolist()
        hot = torch.zeros(self.num_classes, device="cpu")
        hot[self.label_values[start:end].long()] = 1.0
        return hot

    def segment(self, video_id: int) -> tuple[float, float] | None:
        """Returns start and end of the video in its file, in seconds; None for a full file."""
        if self.segments is None:
            return None
        start, end = self.segments[video_id].tolist()
        return start, end

    def labels(self) -> np.ndarray:
        """Returns all labels: (N,) int32, or (N, K) float32."""
        if self.label_starts is None:
            return self.label_values.numpy()
        hot = np.zeros((len(self), self.num_classes), np.float32)
        rows = np.repeat(np.arange(len(self)), np.diff(self.label_starts.numpy()))
        hot[rows, self.label_values.numpy()] = 1.0
        return hot
