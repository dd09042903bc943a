"""Optimisers and their parameter groups, which set weight decay and learning rate per parameter."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Set
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fvcore.common.config import CfgNode

from slowfast.config.values import flatten
from slowfast.errors import ConfigError
from slowfast.models.capabilities import ExemptsWeightDecay, HasLayerDepths
from slowfast.registry import Registry, import_user_modules

# A configuration is checked against these names without torch, so the functions import it themselves.
if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

LayerId = Callable[[str], tuple[int, int]]
ParameterGroup = dict[str, Any]

_FOREIGN = {"mt_adamw": "use adamw, which updates all weights together where it can"}
"""Optimisers of PySlowFast that are not here -> the remedy."""

OPTIMIZER_REGISTRY: Registry[Callable[[CfgNode, list[ParameterGroup]], Optimizer]] = Registry(
    "optimiser", "SOLVER.OPTIMIZING_METHOD", _FOREIGN, arguments=("cfg", "groups")
)
"""Functions of the configuration and the parameter groups that return a ``torch.optim.Optimizer``.

The groups are those of :func:`parameter_groups`; they carry their own weight decay. The optimiser is built
with ``lr=cfg.SOLVER.BASE_LR``; before each step the learning rate is set by :func:`set_learning_rate`.
"""


@OPTIMIZER_REGISTRY.register("sgd")
def build_sgd(cfg: CfgNode, groups: list[ParameterGroup]) -> Optimizer:
    """Builds stochastic gradient descent with momentum."""
    from torch.optim import SGD

    from slowfast.distributed.dtensor import is_sharded

    solver = cfg.SOLVER
    # torch has no fused form for parameters that are sharded over processes.
    sharded = any(is_sharded(parameter) for group in groups for _, parameter in group["params"])
    fused = _can_fuse(groups) and not sharded
    optimizer = SGD(
        groups,
        lr=solver.BASE_LR,
        momentum=solver.MOMENTUM,
        dampening=solver.DAMPENING,
        # Nesterov's step is not defined without momentum or with dampening.
        nesterov=solver.NESTEROV and solver.MOMENTUM > 0 and solver.DAMPENING == 0,
        fused=fused,
    )
    if fused:
        optimizer.register_step_pre_hook(_start_missing_momenta)
    return optimizer


def _start_missing_momenta(optimizer: Optimizer, *_: object) -> None:
    """Gives a momentum to parameters that have none yet while others have one; the fused form needs it.

    Such parameters are new in a run that was resumed after a change of the model. SGD starts a momentum with
    the gradient g. With momentum m and dampening d, a step makes (d / m) g to m (d / m) g + (1 − d) g = g.
    """
    for group in optimizer.param_groups:
        momentum, dampening, decay = group["momentum"], group["dampening"], group["weight_decay"]
        used = [parameter for parameter in group["params"] if parameter.grad is not None]
        missing = [p for p in used if optimizer.state.get(p, {}).get("momentum_buffer") is None]
        if momentum == 0 or len(missing) in (0, len(used)):
            continue
        for parameter in missing:
            gradient = parameter.grad + decay * parameter.detach()
            optimizer.state[parameter]["momentum_buffer"] = gradient * (dampening / momentum)


@OPTIMIZER_REGISTRY.register("adam")
def build_adam(cfg: CfgNode, groups: list[ParameterGroup]) -> Optimizer:
    """Builds Adam (Kingma and Ba, 2015)."""
    from torch.optim import Adam

    return Adam(groups, lr=cfg.SOLVER.BASE_LR, betas=tuple(cfg.SOLVER.BETAS), fused=_can_fuse(groups))


@OPTIMIZER_REGISTRY.register("adamw")
def build_adamw(cfg: CfgNode, groups: list[ParameterGroup]) -> Optimizer:
    """Builds Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""
    from torch.optim import AdamW

    return AdamW(groups, lr=cfg.SOLVER.BASE_LR, betas=tuple(cfg.SOLVER.BETAS), fused=_can_fuse(groups))


def build_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """Builds the optimiser that ``cfg.SOLVER`` describes over the trainable parameters of ``model``.

    Args:
        model: may have ``no_weight_decay()`` and ``layer_id(name)``, see
            ``slowfast.models.capabilities``.

    Raises:
        ConfigError: where ``SOLVER.OPTIMIZING_METHOD`` is not registered, no parameter is trained,
            ``SOLVER.LAYER_DECAY`` is not 1 for a model without ``layer_id``, ``SOLVER.LR_FACTORS`` names no
            part of the model, or the registered function returns another object than an optimiser over its
            groups.
    """
    import_user_modules(cfg.IMPORTS)
    solver = cfg.SOLVER
    layer_id: LayerId | None = None
    if solver.LAYER_DECAY != 1.0:
        if not isinstance(model, HasLayerDepths):
            raise ConfigError(
                f"SOLVER.LAYER_DECAY = {solver.LAYER_DECAY}: must be 1 for a model without layer_id(name); "
                "add that method to the model, or use 1"
            )
        layer_id = model.layer_id
    exempt_names: Set[str] = frozenset()
    if solver.ZERO_WD_1D_PARAM and isinstance(model, ExemptsWeightDecay):
        exempt_names = model.no_weight_decay()
    groups = parameter_groups(
        model,
        weight_decay=solver.WEIGHT_DECAY,
        bn_weight_decay=cfg.BN.WEIGHT_DECAY,
        exempt_vectors=solver.ZERO_WD_1D_PARAM,
        exempt_names=exempt_names,
        layer_decay=solver.LAYER_DECAY,
        layer_id=layer_id,
        lr_factors=flatten(solver.LR_FACTORS),
    )
    if not groups:
        raise ConfigError(
            f"MODEL.MODEL_NAME = {cfg.MODEL.MODEL_NAME!r}: must have a parameter with requires_grad to be "
            "trained; unfreeze a part of the model, or test it with TRAIN.ENABLE False"
        )
    optimizer = OPTIMIZER_REGISTRY.get(solver.OPTIMIZING_METHOD)(cfg, groups)
    if not all("lr_scale" in group for group in getattr(optimizer, "param_groups", [{}])):
        raise ConfigError(
            f"SOLVER.OPTIMIZING_METHOD = {solver.OPTIMIZING_METHOD!r}: must return a torch.optim.Optimizer "
            f"over the groups that it is given, with the lr_scale of each, and has returned "
            f"{type(optimizer).__name__}{' without it' if hasattr(optimizer, 'param_groups') else ''}"
        )
    try:
        inspect.signature(optimizer.step).bind()
    except TypeError as error:
        raise ConfigError(
            f"SOLVER.OPTIMIZING_METHOD = {solver.OPTIMIZING_METHOD!r}: must return an optimiser whose step() "
            f"can be called without a closure, and has returned {type(optimizer).__name__}"
        ) from error
    return optimizer


def _can_fuse(groups: list[ParameterGroup]) -> bool:
    """Returns whether one kernel can update all parameters.

    On the CPU the fused kernel takes a sixth to a third of the time of many small ones. It takes the elements
    in the order of memory: a parameter and a restored momentum of different layouts would be mixed up.
    """
    from slowfast.distributed.device import has_fused_optimizers

    return all(
        has_fused_optimizers(parameter.device) and parameter.is_floating_point() and parameter.is_contiguous()
        for group in groups
        for _, parameter in group["params"]
    )


def parameter_groups(
    model: nn.Module,
    *,
    weight_decay: float,
    bn_weight_decay: float = 0.0,
    exempt_vectors: bool = False,
    exempt_names: Set[str] = frozenset(),
    layer_decay: float = 1.0,
    layer_id: LayerId | None = None,
    lr_factors: Mapping[str, float] = MappingProxyType({}),
) -> list[ParameterGroup]:
    """Groups the trainable parameters by weight decay and relative learning rate.

    Args:
        weight_decay, bn_weight_decay: of ordinary parameters, and of those of batch norms.
        exempt_vectors: no weight decay on parameters of one dimension and on biases.
        exempt_names: names of parameters without weight decay whatever their shape.
        layer_decay: factor per layer (Clark et al., 2020); a parameter at depth d of n has
            ``layer_decay ** (n - 1 - d)`` times the learning rate.
        layer_id: parameter name -> (d, n); needed where ``layer_decay`` is not 1.
        lr_factors: factor of the learning rate by the name of a module or parameter; the longest that fits
            counts.

    Returns:
        Groups for a ``torch.optim`` optimiser, in order of first appearance in the model. Besides ``params``,
        which are pairs of name and parameter, and ``weight_decay``, each group has ``lr_scale``, see
        :func:`set_learning_rate`. The names are saved with the optimiser's state (``param_names``).

    Raises:
        ConfigError: for a name that no module with trainable parameters has.
    """
    in_batch_norm = _batch_norm_parameters(model)
    trainable = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    _check_parts(lr_factors, [name for name, _ in trainable])
    parts = sorted(lr_factors, key=len, reverse=True)
    groups: dict[tuple[float, float], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in trainable:
        decay = weight_decay
        if id(parameter) in in_batch_norm:
            decay = bn_weight_decay
        elif name in exempt_names or (exempt_vectors and (parameter.ndim <= 1 or name.endswith(".bias"))):
            decay = 0.0
        depth, num_depths = layer_id(name) if layer_id is not None else (0, 1)
        scale = layer_decay ** (num_depths - 1 - depth)
        scale *= next((lr_factors[part] for part in parts if _is_within(name, part)), 1.0)
        groups.setdefault((decay, scale), []).append((name, parameter))
    return [
        {"params": parameters, "weight_decay": decay, "lr_scale": scale}
        for (decay, scale), parameters in groups.items()
    ]


def _is_within(name: str, part: str) -> bool:
    """Returns whether a parameter is the part of that name, or lies in it."""
    return f"{name}.".startswith(f"{part}.")


def _check_parts(parts: Iterable[str], names: list[str]) -> None:
    """Raises ``ConfigError`` for a part without trainable parameters, which have these names."""
    for part in parts:
        if not any(_is_within(name, part) for name in names):
            known = ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))
            raise ConfigError(
                f"SOLVER.LR_FACTORS.{part}: must be a part of the model with trainable parameters; its parts "
                f"are {known}"
            )


def _batch_norm_parameters(model: nn.Module) -> set[int]:
    """Returns the ids of the parameters of all batch norms."""
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    return {id(parameter) for norm in norms for parameter in norm.parameters(recurse=False)}


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Sets the learning rate of each group to ``lr`` times its ``lr_scale``."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
