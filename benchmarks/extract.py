"""Compares the extraction of features from video files, decoding included, with slower ways to do the same.

All ways read the same files and the same frames, and alternate in one process:

- ours: precision, images per pass, folded norms and (with ``--compile``) compilation as ``slowfast extract``
  chooses them; ``--workers`` threads decode and encode a file each, with their fraction of torch's threads.
- float32: the same with ``INFERENCE.PRECISION float32``.
- earlier: float32, chunks of up to 64 frames, one worker computes at a time, as this program did before it
  chose by itself.
- plain: what a script does: PyAV, torchvision's resize and crop, timm's model in float32, 32 frames at once.
- limit: the network of "ours" alone, on frames that are decoded already, with the same workers.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from benchmarks.measure import (
    BenchmarkReport,
    keeping,
    ratio,
    synchronizing,
    time_interleaved,
    trimming,
)
from benchmarks.support.encoded_clips import make_clip
from slowfast.datasets.clip import Normalization
from slowfast.datasets.views.spatial import fixed_crop
from slowfast.distributed.device import is_cpu
from slowfast.models.frame_encoder import FrameEncoder
from slowfast.models.inference.compute_threads import ComputeThreads
from slowfast.models.inference.encoding import EncodingRequest, choose_encoding
from slowfast.video.decoding import open_video
from vtn import VTN, BackboneConfig

BACKBONES = {
    "EfficientNet-Lite0": "efficientnet_lite0",
    "ResNet-50": "resnet50",
    "ViT-B": "vit_base_patch16_224",
    "ConvNeXt-B": "convnext_base",
    "DINOv2-S": "vit_small_patch14_dinov2",
}
SOURCES = {"340x256": (256, 340), "720p": (720, 1280)}
_EARLIER_CHUNK, _PLAIN_BATCH = 64, 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES), choices=list(BACKBONES))
    parser.add_argument("--sources", nargs="+", default=list(SOURCES), choices=list(SOURCES))
    parser.add_argument("--frames", type=int, default=32, help="frames per file")
    parser.add_argument("--files", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2, help="DATA_LOADER.NUM_WORKERS of the extraction")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", choices=("on", "off"), default="off")


def run(args: argparse.Namespace) -> BenchmarkReport:
    """Times each backbone on each kind of file."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    report = BenchmarkReport(
        f"Extraction of {args.files} files with {args.frames} frames of 224×224 pixels; frames per second",
        ["backbone", "source", "encoding", "ours", "float32", "earlier", "plain", "× earlier", "× plain",
         "of the limit", "fastest × earlier", "fastest × plain", "difference"],
        file=args.json,
        notes=[
            "of the limit: speed of ours divided by that of its network alone.",
            "Ratios are medians over the rounds; those named fastest are of each way's fastest round.",
            "difference: distance of the features from those of float32, relative to their norm.",
        ],
    )  # fmt: skip
    for source in args.sources:
        with tempfile.TemporaryDirectory() as folder:
            first = make_clip(Path(folder), SOURCES[source], args.frames, 250)
            copies = [first.with_stem(f"{first.stem}_{number}") for number in range(1, args.files)]
            paths = [first, *(shutil.copyfile(first, copy) for copy in copies)]
            for backbone in args.backbones:
                report.add(backbone=backbone, source=source, **_row(BACKBONES[backbone], paths, args))
    return report


@torch.no_grad()
def _row(name: str, paths: list[Path], args: argparse.Namespace) -> dict[str, Any]:
    """Returns one row of the table: frames per second and ratios."""
    device = torch.device(args.device)
    backbone_args = {"img_size": 224} if "dinov2" in name else {}
    models = {
        way: VTN(BackboneConfig(name, pretrained=False, args=backbone_args)).to(device).eval()
        for way in ("ours", "float32", "earlier")
    }
    weights = models["ours"].state_dict()
    for model in models.values():
        model.load_state_dict(weights)
    ours = choose_encoding(models["ours"], EncodingRequest(compile=args.compile), (224, 224), device)
    choose_encoding(models["float32"], EncodingRequest("float32", args.compile), (224, 224), device)
    models["earlier"].chunk_frames = _EARLIER_CHUNK
    computing = args.workers if is_cpu(device) and not ours.compile else 1  # as in an extraction
    files = Files(paths, args.frames, args.workers, computing)
    frames = [_decode(path, args.frames).to(device) for path in paths]
    plainly = partial(_extract_plainly, models["earlier"].backbone, models["earlier"], paths, args.frames)
    calls: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: files.extract(models["ours"]),
        "float32": lambda: files.extract(models["float32"]),
        "earlier": lambda: replace(files, computing=1).extract(models["earlier"]),
        "plain": plainly,
        "limit": lambda: files.encode(models["ours"], frames),
    }
    calls = {
        way: trimming(call) if way in ("earlier", "plain") else keeping(call) for way, call in calls.items()
    }
    exact = calls["float32"]()
    times = time_interleaved(calls, rounds=args.rounds, synchronize=synchronizing(args.device))
    speeds = {way: args.files * args.frames / timing.median for way, timing in times.items()}
    return {
        "encoding": ours.describe(),
        **{way: speeds[way] for way in ("ours", "float32", "earlier", "plain")},
        "× earlier": ratio(times["earlier"], times["ours"]),
        "× plain": ratio(times["plain"], times["ours"]),
        "of the limit": ratio(times["limit"], times["ours"]),
        "fastest × earlier": times["earlier"].fastest / times["ours"].fastest,
        "fastest × plain": times["plain"].fastest / times["ours"].fastest,
        "difference": float((calls["ours"]() - exact).norm() / exact.norm()),
    }


@dataclass(frozen=True)
class Files:
    """The files of a row, and the threads that work on them.

    Attributes:
        paths: of the files.
        frames: frames per file.
        workers: threads that decode and encode a file each.
        computing: how many of them compute at the same time.
    """

    paths: list[Path]
    frames: int
    workers: int
    computing: int

    def extract(self, model: VTN) -> Tensor:
        """Returns the features (N, F) of all frames by the path that extraction and prediction use."""
        return self._spread(model, self._extract_file, self.paths)

    def encode(self, model: VTN, frames: list[Tensor]) -> Tensor:
        """Returns the features (N, F) of decoded frames, (T, H, W, 3) uint8 per file."""
        return self._spread(model, _encode_chunks, frames)

    def _extract_file(self, encoder: FrameEncoder, path: Path) -> Tensor:
        with open_video(str(path)) as video:
            chunks = video.read_chunks(np.arange(self.frames), encoder.chunk_size, fixed_crop(256, 224))
            with closing(encoder.encode_chunks(chunks)) as encoded:
                return torch.cat(list(encoded))

    def _spread(self, model: VTN, work: Callable[[FrameEncoder, Any], Tensor], items: list[Any]) -> Tensor:
        normalization, device = Normalization(model.frame_mean, model.frame_std), model.cls_token.device
        compute = ComputeThreads(self.computing)
        encoder = FrameEncoder(model, normalization, device, chunk_frames=model.chunk_frames, compute=compute)
        with ThreadPoolExecutor(self.workers) as pool:
            features = list(pool.map(partial(work, encoder), items))
        compute.restore()
        return torch.cat(features)


def _encode_chunks(encoder: FrameEncoder, frames: Tensor) -> Tensor:
    return torch.cat([encoder.encode(chunk) for chunk in frames.split(encoder.chunk_size)])


def _extract_plainly(network: torch.nn.Module, model: VTN, paths: list[Path], count: int) -> Tensor:
    """Returns the same as a script without this program computes them."""
    features: list[Tensor] = []
    mean, std = list(model.frame_mean), list(model.frame_std)
    for path in paths:
        batch: list[Tensor] = []
        with av.open(str(path)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number == count:
                    break
                image = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
                image = transforms.center_crop(transforms.resize(image, [256], antialias=True), [224, 224])
                batch.append(transforms.normalize(image.float() / 255, mean, std))
                if len(batch) == _PLAIN_BATCH or number == count - 1:
                    features.append(network(torch.stack(batch).to(model.cls_token.device)))
                    batch.clear()
    return torch.cat(features)


def _decode(path: Path, count: int) -> Tensor:
    """Returns the frames (T, H, W, 3) uint8 that are encoded."""
    with open_video(str(path)) as video:
        return torch.from_numpy(video.read(np.arange(count), fixed_crop(256, 224)))
