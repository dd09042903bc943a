"""Training steps a second with 1 and more processes, and the share of communication in a step.

A VTN on random frames, so that nothing waits for data. Each process has the same batch size and number of
threads. The step is taken in turn with and without the exchange of gradients; the difference is what is not
hidden behind computing.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.measure import Report, time_interleaved
from slowfast.distributed.world import World, connect, disconnect, free_local_address
from vtn import VTN

CLASSES = 400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--batch", type=int, default=2, help="clips of each process")
    parser.add_argument("--width", type=int, default=192, help="of the temporal encoder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="cuda: a GPU a process")


@dataclass(frozen=True)
class Steps:
    """Median seconds of a step on one process, and bytes of gradients that it exchanges."""

    together: float
    alone: float
    gradient_bytes: int


def run(args: argparse.Namespace) -> Report:
    report = Report(
        f"{args.backbone}, encoder of width {args.width}; {args.batch} clips of {args.frames} frames each",
        ["processes", "steps/s", "clips/s", "× 1 process", "s a step", "s without exchange",
         "share of communication", "MB of gradients"],
    )  # fmt: skip
    first: float | None = None
    for size in args.processes:
        steps = _measure(size, args)
        together, alone = (max(getattr(one, name) for one in steps) for name in ("together", "alone"))
        clips = size * args.batch / together
        first = first or clips / size
        report.add(
            processes=size,
            **{
                "steps/s": 1 / together,
                "clips/s": clips,
                "× 1 process": clips / first,
                "s a step": together,
                "s without exchange": alone,
                "share of communication": max(0.0, 1 - alone / together),
                "MB of gradients": steps[0].gradient_bytes / 1e6 if size > 1 else 0.0,
            },
        )
    report.notes.append("seconds: the slowest process; the exchange is torch's DDP, over gloo on the CPU")
    return report


def _measure(size: int, args: argparse.Namespace) -> list[Steps]:
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    address = free_local_address()
    processes = [
        context.Process(target=_process, args=(rank, size, address, args, answers)) for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit(f"a process of {size} failed; see above")
    return [answers.get() for _ in processes]


def _process(rank: int, size: int, address: str, args: argparse.Namespace, answers: Any) -> None:
    torch.set_num_threads(args.threads)
    device = torch.device(args.device, rank) if args.device == "cuda" else torch.device("cpu")
    world = World(rank, size, rank, size, device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    connect(world, init_method=address)
    torch.manual_seed(0)
    model = VTN(
        args.backbone,
        num_classes=CLASSES,
        pretrained=False,
        hidden_dim=args.width,
        num_heads=3,
        intermediate_size=4 * args.width,
        mlp_dim=args.width,
    ).to(device)
    together, alone = _steps(model, world, args)

    def synchronize() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        world.barrier()

    times = time_interleaved(
        {"together": together, "alone": alone}, rounds=args.rounds, synchronize=synchronize
    )
    disconnect()
    learning = [p for p in model.parameters() if p.requires_grad]
    answers.put(
        Steps(
            times["together"].median,
            times["alone"].median,
            sum(p.numel() * p.element_size() for p in learning),
        )
    )


def _steps(
    model: nn.Module, world: World, args: argparse.Namespace
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Returns a training step with and one without the exchange of gradients."""
    parallel = model if world.size == 1 else DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    size = 224
    frames = torch.randn(args.batch, 3, args.frames, size, size, device=world.device)
    labels = torch.randint(CLASSES, (args.batch,), device=world.device)

    def together() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(parallel(frames), labels).backward()
        optimizer.step()

    def alone() -> None:
        if isinstance(parallel, DistributedDataParallel):
            with parallel.no_sync():
                together()
        else:
            together()

    return together, alone
