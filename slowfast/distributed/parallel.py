"""One model over several processes: replicated in each (DDP), or sharded over them (FSDP)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from slowfast.distributed.device import is_cpu
from slowfast.distributed.world import World
from slowfast.errors import ConfigError, TrainingError, counted
from slowfast.log import get_logger
from slowfast.models.capabilities import HasShardUnits

logger = get_logger(__name__)


@dataclass(frozen=True)
class Parallelism:
    """Settings of the training of one model over several processes.

    Attributes:
        sharded: each process keeps a shard of weights, gradients and optimiser states; False: all of them.
        static_graph: the same parameters take part in each step, so that they are searched for only once.
        find_unused: search in each step for parameters without influence on the output.
    """

    sharded: bool = False
    static_graph: bool = False
    find_unused: bool = False


def build_parallelism(cfg: CfgNode, world: World, *, scales_gradients: bool) -> Parallelism:
    """Reads the section ``PARALLEL``; a single process is never sharded.

    Args:
        scales_gradients: whether the precision of training needs gradient scaling, as float16 does.

    Raises:
        ConfigError: for sharding with gradient scaling.
    """
    sharded = cfg.PARALLEL.MODE == "fsdp" and world.size > 1
    if sharded and scales_gradients:
        raise ConfigError(
            "PARALLEL.MODE = 'fsdp': cannot be used with float16 (or mixed, which is float16 on this device) "
            "and its gradient scaling; set TRAIN.PRECISION float32 and TRAIN.MIXED_PRECISION False, or "
            "PARALLEL.MODE ddp"
        )
    return Parallelism(sharded, cfg.PARALLEL.STATIC_GRAPH, cfg.PARALLEL.FIND_UNUSED_PARAMETERS)


def synchronize_batch_norms(model: nn.Module, world: World) -> nn.Module:
    """Returns ``model`` with batch norms that compute their statistics over the clips of all processes.

    Raises:
        ConfigError: for several processes on the CPU, which torch does not support.
    """
    if world.size == 1:
        return model
    if is_cpu(world.device):
        raise ConfigError(
            "BN.NORM_TYPE = 'sync_batchnorm': needs GPUs where there are several processes, and "
            "these run on the CPU; use batchnorm"
        )
    # torch's function would drop the activations that are part of timm's norms.
    from timm.layers import convert_sync_batchnorm

    return convert_sync_batchnorm(model)


def distribute(model: nn.Module, network: nn.Module, world: World, how: Parallelism) -> nn.Module:
    """Returns the module that is called in training in place of ``network``, connected to the other ranks.

    Args:
        model: on the device of ``world``, with the same weights on each rank. Sharding replaces its
            parameters in place: build optimisers afterwards.
        network: maps inputs to logits through ``model``; often the model itself.
    """
    if world.size == 1:
        return network
    with world.blocking_on("the model's weights on all ranks"):
        if how.sharded:
            return _shard(model, network, world)
        return DistributedDataParallel(
            network,
            device_ids=None if is_cpu(world.device) else [world.device],
            gradient_as_bucket_view=True,
            static_graph=how.static_graph,
            find_unused_parameters=how.find_unused,
        )


def _shard(model: Any, network: nn.Module, world: World) -> nn.Module:
    """Shards each unit of the model, gathered only while it computes, and the rest, gathered per step."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    units = model.shard_units() if isinstance(model, HasShardUnits) else []
    for unit in units:
        fully_shard(unit, mesh=mesh)
    how = f"unit by unit ({counted(len(units), 'unit')} and the rest)" if units else "all at once"
    logger.info("model: sharded over %d processes; weights are gathered %s", world.size, how)
    return fully_shard(network, mesh=mesh)


def without_synchronization(network: nn.Module) -> AbstractContextManager[object]:
    """Returns the context of a backward pass whose gradients are not reduced yet, because another follows.

    A sharded network reduces them each time: it has no memory for full gradients.
    """
    return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()


def needs_rehearsal(network: nn.Module, world: World) -> bool:
    """Returns whether the first backward pass sums gradients in another order than all later ones.

    DDP reorders the gradients after its first pass, and with them the sums over more than two ranks. The
    first step after a resumption would round differently than the same step of a run without a stop. One pass
    whose gradients are discarded gives all steps the same order.
    """
    return (
        world.size > 2
        and isinstance(network, DistributedDataParallel)
        and (network.static_graph or not network.find_unused_parameters)
    )


@contextmanager
def rehearsal(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Restores the buffers of ``model`` and torch's random generators after its block."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with torch.random.fork_rng([] if is_cpu(device) else [device], device_type=device.type):
        yield
    with torch.no_grad():
        for buffer, copy in before:
            if not torch.equal(buffer, copy):
                buffer.copy_(copy)


def as_user_error(error: RuntimeError) -> TrainingError | None:
    """Returns an error with a remedy for an error that torch raised in a step; None for any other error."""
    text = str(error)
    if "Expected to have finished reduction" in text or "unused parameters" in text:
        return TrainingError(
            "some parameters had no gradient in the last step, which DDP does not accept; set "
            f"PARALLEL.FIND_UNUSED_PARAMETERS True, or requires_grad False for them ({text.splitlines()[0]})"
        )
    if "CUBLAS_WORKSPACE_CONFIG" in text:
        return TrainingError(
            "DETERMINISTIC = True: this process has multiplied matrices on the GPU before, which settles how "
            "it does so; set the environment variable CUBLAS_WORKSPACE_CONFIG=:4096:8 before it starts"
        )
    if "deterministic" in text and "implementation" in text:
        return TrainingError(
            f"DETERMINISTIC = True: an operation of the model has no deterministic implementation "
            f"({text.splitlines()[0]}); set it False, or choose another model"
        )
    return None
