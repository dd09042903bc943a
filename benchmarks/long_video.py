"""Measures videos of ten minutes to three hours from file to scores: speed, memory, time of each stage.

The file repeats a short encoded scene (640×360 pixels, 25 frames per second, a key frame every ten seconds).
The functions that a user calls are timed: extraction of features to disk, where a thread decodes while the
backbone computes, and scores of the complete video and of ten-second windows. The encoder has the paper's
size; the default backbone is small, so that the time of decoding is visible. ``--backbone`` accepts any name,
also of clip encoders, such as a small one:

    --backbone hf:videomae --pixels 64 --backbone-args '{"image_size": 64, "hidden_size": 96,
    "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 192}'
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import av
import numpy as np
import torch

from benchmarks.measure import BenchmarkReport, peak_memory
from benchmarks.support.encoded_clips import repeat_packets
from slowfast.datasets.clip import Normalization
from slowfast.features.cache import Variant
from slowfast.video.pyav_video import PyAVVideo
from vtn import VTN, BackboneConfig, EncoderConfig, score_video, score_windows
from vtn.inference.extract import FrameView, extract_video_features
from vtn.inference.features import VideoFeatures

HEIGHT, WIDTH, FPS, SCENE_SECONDS = 360, 640, 25, 10
SIZE = 64
"""Height and width in pixels of the small backbone's frames; other backbones get 224."""
DEFAULT_RUNS = ((10, 1.0), (60, 1.0), (180, 1.0), (10, 5.0), (2, 25.0))
"""Minutes and sampled frames per second: runs of different length, then of different sampling density."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument(
        "--minutes", type=int, nargs="+", help="lengths; each is run with each value of --fps"
    )
    parser.add_argument("--fps", type=float, nargs="+", default=[1.0], help="sampled frames per second")
    parser.add_argument("--backbone", default="shallow_conv", help="a value of VTN.BACKBONE.NAME")
    parser.add_argument("--backbone-args", type=json.loads, default={}, help="VTN.BACKBONE.ARGS as JSON")
    parser.add_argument("--pixels", type=int, default=0, help="sides of its frames (default: 224)")
    parser.add_argument(
        "--folder", help="where the videos are written and kept (default: a temporary folder)"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())


def run(args: argparse.Namespace) -> BenchmarkReport:
    """Measures each length and sampling rate."""
    torch.set_num_threads(args.threads)
    report = BenchmarkReport(
        f"long videos {WIDTH}×{HEIGHT}, 25 frames per second, backbone {args.backbone}; s and MB",
        ["minutes", "fps", "frames", "total s", "video s per s", "decode s", "backbone s", "encoder s",
         "decode %", "backbone %", "encoder %", "extract MB", "encode MB", "features MB"],
        file=args.json,
    )  # fmt: skip
    model, view = build(args.backbone, args.backbone_args, args.pixels)
    runs = [(m, fps) for m in args.minutes for fps in args.fps] if args.minutes else DEFAULT_RUNS
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        warm_up(model, view, folder)
        for minutes, fps in runs:
            path = folder / f"{minutes}_minutes.mp4"
            if not path.exists():
                make_video(path, minutes * 60)
            report.add(**measure(model, path, minutes, replace(view, fps=fps), folder / "features.npy"))
    report.notes = [
        "Decoding and backbone run at the same time; percentages refer to the sum of the three stages. The",
        "total also includes scanning the file and writing features. extract MB: rise of resident memory",
        "during extraction. encode MB: the same for the scores of the video and of windows, including the",
        "features (features MB) and one hidden sequence of that size.",
    ]
    return report


def build(backbone: str, args: dict[str, Any], pixels: int) -> tuple[VTN, FrameView]:
    """Returns the model, and all frames of a video as the model takes them."""
    small = backbone == "shallow_conv"
    torch.manual_seed(0)
    args = {"image_size": SIZE, "feature_dim": 768} if small else args
    model = VTN(
        BackboneConfig(backbone, pretrained=False, chunk_frames=32, args=args),
        encoder=EncoderConfig(position="sinusoidal"),
    ).prepare_inference()
    size = pixels or (SIZE if small else 224)
    normalization = Normalization(model.frame_mean, model.frame_std)
    return model, FrameView(float(FPS), Variant(size * 8 // 7, size), normalization)


def warm_up(model: VTN, view: FrameView, folder: Path) -> None:
    """Runs everything once, so that the timed runs do not include initialization on first use."""
    path = folder / "warm_up.mp4"
    features = folder / "warm_up.npy"
    features.unlink(missing_ok=True)
    make_video(path, 20)
    score_all(model, extract_video_features(model, path, view, features))


def measure(model: VTN, path: Path, minutes: int, view: FrameView, feature_path: Path) -> dict[str, Any]:
    """Returns one row: extraction of features, then the scores from the features on disk."""
    feature_path.unlink(missing_ok=True)
    seconds = {"decode": 0.0, "backbone": 0.0}
    found: list[VideoFeatures] = []
    begin = time.perf_counter()
    with timed_decoding(seconds), timed_backbone(model, seconds):
        extract_peak = peak_memory(
            lambda: found.append(extract_video_features(model, path, view, feature_path, show_progress=True))
        )
    extracted = time.perf_counter()
    encode_peak = peak_memory(lambda: score_all(model, found[0]))
    end = time.perf_counter()
    seconds["encoder"] = end - extracted
    busy = sum(seconds.values())
    return {
        "minutes": minutes,
        "fps": view.fps,
        "frames": len(found[0].features),
        "total s": end - begin,
        "video s per s": minutes * 60 / (end - begin),
        **{f"{name} s": value for name, value in seconds.items()},
        **{f"{name} %": 100 * value / busy for name, value in seconds.items()},
        "extract MB": extract_peak / 1e6,
        "encode MB": encode_peak / 1e6,
        "features MB": found[0].features.nbytes / 1e6,
    }


def score_all(model: VTN, video: VideoFeatures) -> None:
    """Computes the scores of the complete video and of its ten-second windows."""
    score_video(model, video)
    score_windows(model, video, 10.0, 10.0)


@contextmanager
def timed_decoding(seconds: dict[str, float]) -> Iterator[None]:
    """Adds the seconds that the decoding thread spends on chunks of frames to ``seconds["decode"]``."""
    read_chunks: Callable[..., Iterator[np.ndarray]] = PyAVVideo.read_chunks

    def timed(*args: Any) -> Iterator[np.ndarray]:
        chunks = read_chunks(*args)
        while True:
            begin = time.perf_counter()
            chunk = next(chunks, None)
            seconds["decode"] += time.perf_counter() - begin
            if chunk is None:
                return
            yield chunk

    with patch.object(PyAVVideo, "read_chunks", timed):
        yield


@contextmanager
def timed_backbone(model: VTN, seconds: dict[str, float]) -> Iterator[None]:
    """Adds the seconds that the model spends on encoding frames to ``seconds["backbone"]``."""
    encode_frames = model.encode_frames

    def timed(*args: Any) -> torch.Tensor:
        begin = time.perf_counter()
        features = encode_frames(*args)
        seconds["backbone"] += time.perf_counter() - begin
        return features

    with patch.object(model, "encode_frames", timed):
        yield


def make_video(path: Path, seconds: int) -> None:
    """Writes an H.264 file of any length by repeating the packets of one encoded scene."""
    scene = path.with_name("scene.mp4")
    if not scene.exists():
        encode_scene(scene)
    repeat_packets(scene, path, seconds // SCENE_SECONDS)


def encode_scene(path: Path) -> None:
    """Encodes ten seconds of a camera that pans over a smooth random image, with a moving square."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(20, 235, (1, 3, 12, 40)))
    size = (HEIGHT, 2 * WIDTH)
    landscape = torch.nn.functional.interpolate(coarse, size, mode="bicubic")[0].permute(1, 2, 0)
    landscape = (landscape + torch.from_numpy(rng.normal(0, 4, (*size, 1)))).clamp(0, 255).byte().numpy()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "30", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.gop_size = SCENE_SECONDS * FPS
        for i in range(SCENE_SECONDS * FPS):
            image = landscape[:, 2 * i : 2 * i + WIDTH].copy()
            image[100:180, (3 * i) % 560 : (3 * i) % 560 + 80] = 255 - image[100:180, :80]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
