"""One model over several processes: a copy in each (DDP), or a part in each (FSDP)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from slowfast.distributed.world import World
from slowfast.errors import ConfigError, TrainingError
from slowfast.log import get_logger

logger = get_logger(__name__)


@dataclass(frozen=True)
class Parallelism:
    """How a model is trained over several processes.

    Attributes:
        sharded: each process keeps a part of the weights, gradients and optimiser states; False: all of them.
        static_graph: the same parameters take part in each step, which saves looking for them.
        find_unused: look for parameters without influence on the output in each step.
    """

    sharded: bool = False
    static_graph: bool = False
    find_unused: bool = False


def build_parallelism(cfg: Any, world: World, *, scales_gradients: bool) -> Parallelism:
    """Reads the section ``PARALLEL``; a single process is never sharded.

    Args:
        scales_gradients: whether the precision of training needs gradient scaling, as float16 does.

    Raises:
        ConfigError: for sharding in a number format whose gradients need scaling.
    """
    sharded = cfg.PARALLEL.MODE == "fsdp" and world.size > 1
    if sharded and scales_gradients:
        raise ConfigError(
            "PARALLEL.MODE = 'fsdp': mixed precision on this GPU is float16, whose gradient scaling does "
            "not go with it; set TRAIN.MIXED_PRECISION False, or PARALLEL.MODE ddp"
        )
    return Parallelism(sharded, cfg.PARALLEL.STATIC_GRAPH, cfg.PARALLEL.FIND_UNUSED_PARAMETERS)


def synchronize_batch_norms(model: nn.Module, world: World) -> nn.Module:
    """Returns ``model`` with batch norms that take their statistics over the clips of all processes.

    Raises:
        ConfigError: for several processes on the CPU, for which torch has none.
    """
    if world.size == 1:
        return model
    if world.device.type != "cuda":
        raise ConfigError(
            "BN.NORM_TYPE = 'sync_batchnorm': several processes can share statistics only on GPUs, and "
            "these run on the CPU; set it to batchnorm"
        )
    # torch's own function would lose the activations that timm's norms have in them.
    from timm.layers import convert_sync_batchnorm

    return convert_sync_batchnorm(model)


def distribute(model: nn.Module, network: nn.Module, world: World, how: Parallelism) -> nn.Module:
    """Joins the copies of a model on all ranks; returns what is called in their place.

    Args:
        model: on the device of ``world``, with the same weights on each rank. When it is sharded its
            parameters become others, in place: optimisers are built afterwards.
        network: maps inputs to logits through ``model``; often the model itself.
    """
    if world.size == 1:
        return network
    if how.sharded:
        return _shard(model, network, world)
    return DistributedDataParallel(
        network,
        device_ids=[world.device] if world.device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        static_graph=how.static_graph,
        find_unused_parameters=how.find_unused,
    )


def _shard(model: Any, network: nn.Module, world: World) -> nn.Module:
    """Each unit of the model is gathered when it is needed and let go afterwards, the rest once a step."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    units = model.shard_units() if hasattr(model, "shard_units") else []
    for unit in units:
        fully_shard(unit, mesh=mesh)
    logger.info("model: in parts over %d processes, %d units and the rest", world.size, len(units))
    return fully_shard(network, mesh=mesh)


def without_synchronization(network: nn.Module) -> AbstractContextManager[object]:
    """The context of a backward pass whose gradients need not be shared yet, since another follows.

    A sharded network shares them each time: it has no place for whole ones.
    """
    return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()


def explain(error: RuntimeError) -> TrainingError | None:
    """Says in our words what torch's error in a step means; None where it is another one."""
    text = str(error)
    if "Expected to have finished reduction" in text or "unused parameters" in text:
        return TrainingError(
            "some parameters had no part in the last step, which several processes must agree on; set "
            f"PARALLEL.FIND_UNUSED_PARAMETERS True, or give them requires_grad False ({text.splitlines()[0]})"
        )
    if "deterministic" in text and "implementation" in text:
        return TrainingError(
            f"DETERMINISTIC = True: a part of the model cannot compute so ({text.splitlines()[0]}); set it "
            "False, or choose another model"
        )
    return None
