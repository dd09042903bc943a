"""Estimates a training run on many GPUs: storage, decoding, memory, communication, time.

Measured on this computer: operations and memory of the model per clip, CPU time to load a clip, size of a
file.
Assumed, with an option for each: number of GPUs, their attained throughput, their links, the data set. The
column ``origin`` states whether a value is measured, assumed or computed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from torch import nn

from benchmarks.measure import BenchmarkReport
from benchmarks.support.encoded_clips import make_clip
from slowfast.config import get_default_config
from slowfast.datasets.build import build_dataset
from slowfast.models.complexity import clip_complexity, count_parameters
from vtn import VTN

CLASSES = 400
# float32 values stored per parameter: weight, gradient and SGD's momentum.
VALUES_PER_PARAMETER = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--gpus", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16, help="clips per step on each GPU")
    parser.add_argument("--attained", type=float, default=250.0, help="attained TFLOP/s per GPU, bfloat16")
    parser.add_argument("--link", type=float, default=25.0, help="GB/s per GPU in each direction")
    parser.add_argument("--videos", type=int, default=240_000, help="training videos")
    parser.add_argument("--val-videos", type=int, default=20_000)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--val-frames", type=int, default=250)
    parser.add_argument("--backbone", default="vit_base_patch16_224")
    parser.add_argument("--clips", type=int, default=16, help="number of clips to load for the measurement")


def run(args: argparse.Namespace) -> BenchmarkReport:
    """Measures, and computes the estimate."""
    report = BenchmarkReport(
        f"{args.backbone} on {args.gpus} GPUs, {args.batch_size} clips of {args.frames} frames each",
        ["quantity", "value", "unit", "origin"],
        file=args.json,
    )
    with tempfile.TemporaryDirectory() as folder:
        file_bytes, clip_seconds, video_seconds = _loading(Path(folder), args)
    parameters, clip_macs, video_macs, activations = _model(args)

    def add(quantity: str, value: float, unit: str, origin: str) -> None:
        report.add(quantity=quantity, value=float(value), unit=unit, origin=origin)

    add("parameters", parameters / 1e6, "million", "measured")
    add("multiply-adds per clip, forward", clip_macs, "10^9", "measured")
    add("multiply-adds per full video", video_macs, "10^9", "measured")
    add("file of 10 s of 340x256, H.264", file_bytes / 1e6, "MB", "measured")
    add("loading one clip", clip_seconds, "core seconds", "measured, CPU time")
    add("loading one full video", video_seconds, "core seconds", "measured, CPU time")
    add("activations for the backward pass, per clip", activations / 1e9, "GB of float32", "measured")
    add("attained throughput per GPU", args.attained, "TFLOP/s", "assumed")
    add("link per GPU", args.link, "GB/s", "assumed")
    # The backward pass takes twice the operations of the forward pass; a multiply-add is two operations.
    rate = args.attained * 1e12 / (6e9 * clip_macs)
    step = args.batch_size / rate
    gradients = 4 * parameters
    exchange = 2 * (args.gpus - 1) / args.gpus * gradients / (args.link * 1e9)
    add("training", rate, "clips/s per GPU", "computed")
    add("one step, computation", step, "s", "computed")
    add("gradients per step", gradients / 1e6, "MB", "computed")
    add("ring all-reduce of the gradients, not overlapped", exchange, "s", "computed")
    add("fraction of a step for all-reduce, not overlapped", exchange / (exchange + step), "", "computed")
    add("loading", rate * clip_seconds, "cores per GPU", "computed")
    add("reading from storage, all GPUs", args.gpus * rate * file_bytes / 1e6, "MB/s", "computed")
    add("weights, gradients, momentum", VALUES_PER_PARAMETER * gradients / 1e9, "GB per GPU", "computed")
    add("activations in bfloat16", args.batch_size * activations / 2e9, "GB per GPU", "computed")
    add("checkpoint", 2 * gradients / 1e6, "MB", "computed")
    add(
        "one epoch", args.videos / args.gpus / args.batch_size * (step + exchange) / 60, "minutes", "computed"
    )
    own_videos = args.val_videos / args.gpus
    validation = own_videos * 2e9 * video_macs / (args.attained * 1e12)
    add("validation on full videos, computation", validation, "s", "computed")
    loading = own_videos * video_seconds / max(1.0, rate * clip_seconds)
    add("validation on full videos, loading on those cores", loading, "s", "computed")
    report.notes.append("measured on the computer above, without a GPU; options set the assumed values")
    return report


def _loading(folder: Path, args: argparse.Namespace) -> tuple[int, float, float]:
    """Returns the size of a file in bytes, and the core seconds to load a clip and the full video from it."""
    path = make_clip(folder, (256, 340), 250, 250)
    for split in ("train", "val"):
        (folder / f"{split}.csv").write_text(f"{path} 0\n" * args.clips)
    cfg = get_default_config()
    cfg.DATA.PATH_TO_DATA_DIR = str(folder)
    cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE, cfg.DATA.TARGET_FPS = args.frames, 8, 25
    cfg.DATA.TRAIN_JITTER_SCALES, cfg.DATA.TRAIN_CROP_SIZE, cfg.DATA.TEST_CROP_SIZE = [256, 320], 224, 224
    cfg.TRAIN.EVAL_FULL_VIDEO, cfg.TRAIN.EVAL_NUM_FRAMES = True, args.val_frames
    return path.stat().st_size, _core_seconds(cfg, "train", args.clips), _core_seconds(cfg, "val", 2)


def _core_seconds(cfg: CfgNode, split: str, count: int) -> float:
    """Returns the CPU seconds per item, which exclude other processes on the computer."""
    dataset = build_dataset(cfg, split)
    dataset[0]
    begin = time.process_time()
    for number in range(count):
        dataset[number]
    return (time.process_time() - begin) / count


def _model(args: argparse.Namespace) -> tuple[int, float, float, int]:
    """Returns parameters, 10⁹ multiply-adds per clip and per video, and bytes of activations per clip."""
    model = VTN(args.backbone, num_classes=CLASSES, pretrained=False)
    kept = _kept_bytes(model, torch.zeros(1, 3, args.frames, 224, 224))
    clip, video = (
        clip_complexity(model, frames, 224).total.total for frames in (args.frames, args.val_frames)
    )
    return count_parameters(model), clip / 1e9, video / 1e9, kept


def _kept_bytes(model: nn.Module, frames: torch.Tensor) -> int:
    """Returns the bytes that autograd saves in a forward pass, without parameters, each storage once."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model.train()(frames)
    del logits
    return sum(kept.values())
