"""A training run on many GPUs, planned on paper: storage, decoding, memory, communication, time.

Measured here: what the model needs for a clip, what loading a clip costs, how large its file is. Assumed, and
to be given: the GPUs, what they attain, their links, the data set. Each row says which it is.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.decode import make_clip
from benchmarks.measure import Report
from slowfast.config import get_default_config
from slowfast.datasets.build import build_dataset
from slowfast.engine.evaluator import count_gmacs
from slowfast.models.complexity import count_parameters
from vtn import VTN

CLASSES = 400
# Of float32: weights, their gradients and SGD's momentum.
NUMBERS_A_PARAMETER = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gpus", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16, help="clips of a step on each GPU")
    parser.add_argument("--attained", type=float, default=250.0, help="TFLOP/s that a GPU attains, bfloat16")
    parser.add_argument("--link", type=float, default=25.0, help="GB/s between GPUs, each way and GPU")
    parser.add_argument("--videos", type=int, default=240_000, help="for training")
    parser.add_argument("--val-videos", type=int, default=20_000)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--val-frames", type=int, default=250)
    parser.add_argument("--backbone", default="vit_base_patch16_224")
    parser.add_argument("--clips", type=int, default=16, help="that are loaded to measure it")


def run(args: argparse.Namespace) -> Report:
    report = Report(
        f"{args.backbone} on {args.gpus} GPUs, {args.batch} clips of {args.frames} frames each",
        ["piece", "figure", "unit", "origin"],
    )
    with tempfile.TemporaryDirectory() as folder:
        file_bytes, clip_seconds, video_seconds = _loading(Path(folder), args)
    parameters, clip_macs, video_macs, activations = _model(args)

    def add(piece: str, figure: float, unit: str, origin: str) -> None:
        report.add(piece=piece, figure=float(figure), unit=unit, origin=origin)

    add("parameters", parameters / 1e6, "million", "measured")
    add("multiply-adds of a clip, forward", clip_macs, "10^9", "measured")
    add("multiply-adds of a whole video", video_macs, "10^9", "measured")
    add("file of 10 s of 340x256, H.264", file_bytes / 1e6, "MB", "measured")
    add("loading a clip", clip_seconds, "core seconds", "measured, CPU time")
    add("loading a whole video", video_seconds, "core seconds", "measured, CPU time")
    add("kept for the backward pass, a clip", activations / 1e9, "GB of float32", "measured")
    add("a GPU attains", args.attained, "TFLOP/s", "assumed")
    add("a GPU's link", args.link, "GB/s", "assumed")
    # Backward takes twice the forward pass, and a multiply-add is two operations.
    rate = args.attained * 1e12 / (6e9 * clip_macs)
    step = args.batch / rate
    gradients = 4 * parameters
    exchange = 2 * (args.gpus - 1) / args.gpus * gradients / (args.link * 1e9)
    add("training", rate, "clips/s and GPU", "computed")
    add("a step, computing", step, "s", "computed")
    add("gradients of a step", gradients / 1e6, "MB", "computed")
    add("their exchange in a ring, if not hidden", exchange, "s", "computed")
    add("share of it in a step, if not hidden", exchange / (exchange + step), "", "computed")
    add("cores for loading", rate * clip_seconds, "a GPU", "computed")
    add("from storage, all GPUs", args.gpus * rate * file_bytes / 1e6, "MB/s", "computed")
    add("weights, gradients, momentum", NUMBERS_A_PARAMETER * gradients / 1e9, "GB a GPU", "computed")
    add("activations in bfloat16", args.batch * activations / 2e9, "GB a GPU", "computed")
    add("checkpoint", 2 * gradients / 1e6, "MB", "computed")
    add("an epoch", args.videos / args.gpus / args.batch * (step + exchange) / 60, "minutes", "computed")
    add("its validation on whole videos, computing", _validation(args, video_macs), "s", "computed")
    cores = max(1.0, rate * clip_seconds)
    add(
        "the same, loading on those cores",
        args.val_videos * video_seconds / args.gpus / cores,
        "s",
        "computed",
    )
    report.notes.append("measured on the machine above, no GPU; options of this command set what is assumed")
    return report


def _validation(args: argparse.Namespace, video_macs: float) -> float:
    return args.val_videos / args.gpus * 2e9 * video_macs / (args.attained * 1e12)


def _loading(folder: Path, args: argparse.Namespace) -> tuple[int, float, float]:
    """Returns the bytes of a file, and the core seconds to load a clip and a whole video from it."""
    path = make_clip(folder, (256, 340), 250, 250)
    for split in ("train", "val"):
        (folder / f"{split}.csv").write_text(f"{path} 0\n" * args.clips)
    cfg = get_default_config()
    cfg.DATA.PATH_TO_DATA_DIR = str(folder)
    cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE, cfg.DATA.TARGET_FPS = args.frames, 8, 25
    cfg.DATA.TRAIN_JITTER_SCALES, cfg.DATA.TRAIN_CROP_SIZE, cfg.DATA.TEST_CROP_SIZE = [256, 320], 224, 224
    cfg.TRAIN.EVAL_FULL_VIDEO, cfg.TRAIN.EVAL_NUM_FRAMES = True, args.val_frames
    return path.stat().st_size, _core_seconds(cfg, "train", args.clips), _core_seconds(cfg, "val", 2)


def _core_seconds(cfg: Any, split: str, count: int) -> float:
    """CPU time of an item, so that other work on the machine does not count."""
    dataset = build_dataset(cfg, split)
    dataset[0]
    begun = time.process_time()
    for number in range(count):
        dataset[number]
    return (time.process_time() - begun) / count


def _model(args: argparse.Namespace) -> tuple[int, float, float, int]:
    """Returns parameters, 10⁹ multiply-adds of a clip and of a video, and bytes kept for backward, a clip."""
    model = VTN(args.backbone, num_classes=CLASSES, pretrained=False)
    parameters = count_parameters(model)
    clip = count_gmacs(model, (3, args.frames, 224, 224))
    with torch.no_grad():
        feature = model.eval().encode_frames(torch.zeros(1, 3, 1, 224, 224))  # (1, 1, F)
    # The backbone sees frame by frame, so that a video's need not be run.
    frame = (clip - _encoder_gmacs(model, feature, args.frames)) / args.frames
    video = args.val_frames * frame + _encoder_gmacs(model, feature, args.val_frames)
    return parameters, clip, video, _kept_bytes(model, torch.zeros(1, 3, args.frames, 224, 224))


def _encoder_gmacs(model: VTN, feature: torch.Tensor, frames: int) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval().classify(feature.expand(-1, frames, -1))
    return counter.get_total_flops() / 2e9


def _kept_bytes(model: nn.Module, frames: torch.Tensor) -> int:
    """Bytes that autograd keeps of a forward pass, parameters apart, each storage once."""
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
