"""Measures training steps per second with one and more processes, and the fraction of time for communication.

A VTN is trained on random frames, so that no step waits for data. Each process has the same batch size and
number of threads. Steps with and without the exchange of gradients alternate; the difference is the time of
the exchange that is not overlapped with computation.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.measure import BenchmarkReport, time_interleaved
from slowfast.distributed.deadline import Deadline
from slowfast.distributed.device import CPU, synchronize, use_device
from slowfast.distributed.rendezvous.meeting import meet
from slowfast.distributed.rendezvous.peers import PeerInfo
from slowfast.distributed.world import World, disconnect, free_local_address, join
from vtn import VTN, BackboneConfig, EncoderConfig, HeadConfig

CLASSES = 400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=2, help="clips per step in each process")
    parser.add_argument("--width", type=int, default=192, help="width of the temporal encoder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    parser.add_argument("--device", default="cpu", help="cuda or xpu: one GPU per process")


@dataclass(frozen=True)
class Steps:
    """The measurement of one process.

    Attributes:
        exchanged: median seconds per step with the exchange of gradients.
        local: median seconds per step without it.
        gradient_bytes: bytes of gradients.
    """

    exchanged: float
    local: float
    gradient_bytes: int


def run(args: argparse.Namespace) -> BenchmarkReport:
    """Measures each number of processes."""
    report = BenchmarkReport(
        f"{args.backbone}, encoder of width {args.width}; "
        f"{args.batch_size} clips of {args.frames} frames each",
        ["processes", "steps/s", "clips/s", "× 1 process", "s per step", "s without exchange",
         "communication fraction", "MB of gradients"],
        file=args.json,
    )  # fmt: skip
    first: float | None = None
    for size in args.processes:
        steps = _measure(size, args)
        exchanged, local = max(one.exchanged for one in steps), max(one.local for one in steps)
        clips = size * args.batch_size / exchanged
        first = first or clips / size
        report.add(
            processes=size,
            **{
                "steps/s": 1 / exchanged,
                "clips/s": clips,
                "× 1 process": clips / first,
                "s per step": exchanged,
                "s without exchange": local,
                "communication fraction": max(0.0, 1 - local / exchanged),
                "MB of gradients": steps[0].gradient_bytes / 1e6 if size > 1 else 0.0,
            },
        )
    report.notes.append("seconds: the slowest process; exchange by torch's DDP, over gloo on the CPU")
    return report


def _measure(size: int, args: argparse.Namespace) -> list[Steps]:
    """Returns the measurements of ``size`` processes that train together."""
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    address = free_local_address()
    processes = [
        context.Process(target=_process, args=(rank, size, address, args, results)) for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit(f"one of {size} processes failed; see the error above")
    return [results.get() for _ in processes]


def _process(
    rank: int, size: int, address: str, args: argparse.Namespace, results: SimpleQueue[Steps]
) -> None:
    """Runs one process: joins the group, trains, and puts its measurement into ``results``."""
    torch.set_num_threads(args.threads)
    device = CPU if args.device == "cpu" else torch.device(args.device, rank)
    world = World(rank, size, rank, size, device)
    use_device(device)
    store = meet(PeerInfo(rank, size), address, Deadline(300.0))
    join(world, store, backend="nccl", timeout=1800.0)
    torch.manual_seed(0)
    model = VTN(
        BackboneConfig(args.backbone, pretrained=False),
        num_classes=CLASSES,
        encoder=EncoderConfig(hidden_dim=args.width, num_heads=3, intermediate_size=4 * args.width),
        head=HeadConfig(mlp_dim=args.width),
    ).to(device)
    exchanged, local = _steps(model, world, args)

    def wait_for_all() -> None:
        synchronize(device)
        world.all_gather_objects(None)

    times = time_interleaved(
        {"exchanged": exchanged, "local": local}, rounds=args.rounds, synchronize=wait_for_all
    )
    disconnect()
    trained = [p for p in model.parameters() if p.requires_grad]
    results.put(
        Steps(
            times["exchanged"].median,
            times["local"].median,
            sum(p.numel() * p.element_size() for p in trained),
        )
    )


def _steps(
    model: nn.Module, world: World, args: argparse.Namespace
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Returns two functions: a training step with the exchange of gradients, and one without."""
    parallel = model if world.size == 1 else DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    frames = torch.randn(args.batch_size, 3, args.frames, 224, 224, device=world.device)
    labels = torch.randint(CLASSES, (args.batch_size,), device=world.device)

    def exchanged() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(parallel(frames), labels).backward()
        optimizer.step()

    def local() -> None:
        with parallel.no_sync() if isinstance(parallel, DistributedDataParallel) else nullcontext():
            exchanged()

    return exchanged, local
