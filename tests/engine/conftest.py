"""A data set of real encoded videos: each class has a colour."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

COLOURS = ((200, 60, 60), (60, 200, 60), (60, 60, 200))


@pytest.fixture(scope="session")
def colour_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ``train.csv`` (26 videos), ``val.csv`` (7) and ``test.csv`` (7), 16 frames of 40 × 32."""
    folder = tmp_path_factory.mktemp("colour_videos")
    rng = np.random.default_rng(0)
    for split, count in (("train", 26), ("val", 7), ("test", 7)):
        lines = []
        for number in range(count):
            label = number % len(COLOURS)
            path = folder / f"{split}_{number}.mp4"
            frames = np.array(COLOURS[label]) + rng.normal(0, 50, (16, 8, 10, 3)).repeat(4, 1).repeat(4, 2)
            write_video(path, frames.clip(0, 255).astype(np.uint8))
            lines.append(f"{path} {label}\n")
        (folder / f"{split}.csv").write_text("".join(lines))
    return folder


def write_video(path: Path, frames: np.ndarray) -> None:
    """Encodes frames (T, H, W, 3) uint8 as MPEG-4 at 25 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode())
