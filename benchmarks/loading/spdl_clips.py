"""A loader of planned clips with SPDL: threads of one process demux, decode, scale and crop.

FFmpeg's filters select the wanted frames before they are scaled, which is faster than
``spdl.io.sample_decode_video``: that scales every frame it decodes. The conversion to RGB follows the crop.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from benchmarks.loading.clip_plans import BatchPlan, ClipPlan


class SpdlLoader:
    """The batches of several epochs, with threads of their own for each.

    Args:
        epochs: the plans of each epoch.
        threads: number of decoding threads.
        batch_size: clips per batch.
    """

    def __init__(self, epochs: Sequence[Sequence[BatchPlan]], threads: int, batch_size: int) -> None:
        self._epochs = [list(itertools.chain.from_iterable(batches)) for batches in epochs]
        self._threads = threads
        self._batch_size = batch_size

    def batches(self, epoch: int) -> Iterator[Tensor]:
        """Yields the batches of an epoch, (B, 3, T, S, S) uint8, channels last in memory."""
        from spdl.pipeline import PipelineBuilder

        builder: Any = PipelineBuilder()
        pipeline = (
            builder.add_source(self._epochs[epoch])
            .pipe(_read_clip, concurrency=self._threads, output_order="input")
            .aggregate(self._batch_size)
            .pipe(_stack)
            .add_sink(2 * self._threads)
            .build(num_threads=self._threads)
        )
        with pipeline.auto_stop():
            yield from pipeline.get_iterator()


def _read_clip(plan: ClipPlan) -> tuple[Any, int]:
    """Returns the decoded frames of a clip in SPDL's memory, and their number."""
    import spdl.io

    first, last = plan.seconds
    frame = (last - first) / max(plan.indices[-1] - plan.indices[0], 1)
    packets = spdl.io.demux_video(plan.path, timestamp=(max(first - frame / 2, 0.0), last + frame / 2))
    return spdl.io.decode_packets(packets, filter_desc=_filters(plan)), len(plan.indices)


def _filters(plan: ClipPlan) -> str:
    """Returns FFmpeg's description of the filters of a clip."""
    place = plan.place
    wanted = "+".join(f"eq(pts,{pts})" for pts in plan.pts)
    filters = [
        f"select='{wanted}'",
        f"scale={place.width}:{place.height}:flags=bilinear",
        "format=pix_fmts=yuv420p",  # otherwise the filter before converts to RGB, all of the frame
        f"crop={place.crop_width}:{place.crop_height}:{place.left}:{place.top}:exact=1",
        *(["hflip"] if place.flip else []),
        "format=pix_fmts=rgb24",
    ]
    return ",".join(filters)


def _stack(clips: list[tuple[Any, int]]) -> Tensor:
    """Returns a batch (B, 3, T, S, S) of decoded clips, converted to one tensor by SPDL."""
    import spdl.io

    frames = spdl.io.to_torch(spdl.io.convert_frames([frames for frames, _ in clips]))  # (B, T, S, S, 3)
    if {frames.shape[1]} != {length for _, length in clips}:
        raise RuntimeError(f"SPDL has decoded {frames.shape[1]} frames per clip, not {clips[0][1]}")
    return frames.permute(0, 4, 1, 2, 3)
