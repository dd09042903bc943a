"""Optimisers and their parameter groups: who decays, and which layer learns how fast."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from slowfast.errors import ConfigError

LayerId = Callable[[str], tuple[int, int]]


def build_optimizer(cfg: Any, model: nn.Module) -> Optimizer:
    """Builds the optimiser that ``cfg.SOLVER`` describes over the parameters of ``model`` that learn.

    The model may say ``no_weight_decay()`` and ``layer_id(name)``, see ``slowfast.models.build.VideoModel``.
    """
    solver = cfg.SOLVER
    layer_id: LayerId | None = None
    if solver.LAYER_DECAY != 1.0:
        layer_id = getattr(model, "layer_id", None)
        if layer_id is None:
            raise ConfigError(
                f"SOLVER.LAYER_DECAY = {solver.LAYER_DECAY}: this model does not say its layers; take 1"
            )
    named_exempt = getattr(model, "no_weight_decay", None)
    groups = parameter_groups(
        model,
        weight_decay=solver.WEIGHT_DECAY,
        bn_weight_decay=cfg.BN.WEIGHT_DECAY,
        exempt_vectors=solver.ZERO_WD_1D_PARAM,
        exempt_names=named_exempt() if solver.ZERO_WD_1D_PARAM and named_exempt else frozenset(),
        layer_decay=solver.LAYER_DECAY,
        layer_id=layer_id,
    )
    method, betas = solver.OPTIMIZING_METHOD, tuple(solver.BETAS)
    if method == "sgd":
        return torch.optim.SGD(
            groups,
            lr=solver.BASE_LR,
            momentum=solver.MOMENTUM,
            dampening=solver.DAMPENING,
            # Nesterov's step is not defined without momentum or with dampening.
            nesterov=solver.NESTEROV and solver.MOMENTUM > 0 and solver.DAMPENING == 0,
        )
    if method == "adam":
        return torch.optim.Adam(groups, lr=solver.BASE_LR, betas=betas, fused=_can_fuse(model))
    if method == "adamw":
        return torch.optim.AdamW(groups, lr=solver.BASE_LR, betas=betas, fused=_can_fuse(model))
    raise ConfigError(f"SOLVER.OPTIMIZING_METHOD = {method!r}: known are sgd, adam and adamw")


def _can_fuse(model: nn.Module) -> bool:
    """Whether one kernel can update everything: on the CPU it takes a sixth of the time of many small ones.

    SGD's own has no form for FSDP, fails where some parameters have no momentum yet, and gains little.
    """
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return all(
        parameter.device.type in ("cpu", "cuda") and parameter.is_floating_point() for parameter in learning
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
) -> list[dict[str, Any]]:
    """Sorts the parameters that learn into groups of equal weight decay and equal relative rate.

    Parameters without ``requires_grad`` are in no group.

    Args:
        weight_decay: of ordinary parameters.
        bn_weight_decay: of the parameters of batch norms.
        exempt_vectors: no decay on parameters of one dimension and on biases.
        exempt_names: parameters without decay whatever their shape.
        layer_decay: a parameter at depth d of n learns at ``layer_decay ** (n - 1 - d)`` times the rate.
        layer_id: name -> (d, n); needed where ``layer_decay`` is not 1.

    Returns:
        Groups for a ``torch.optim`` optimiser, in order of first appearance in the model. Beside
        ``params``, pairs of name and parameter, and ``weight_decay`` each has ``lr_scale``, see
        :func:`set_learning_rate`. The names are saved with the optimiser's state (``param_names``).
    """
    in_batch_norm = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for parameter in module.parameters(recurse=False)
    }
    groups: dict[tuple[float, float], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = weight_decay
        if id(parameter) in in_batch_norm:
            decay = bn_weight_decay
        elif name in exempt_names or (exempt_vectors and (parameter.ndim <= 1 or name.endswith(".bias"))):
            decay = 0.0
        scale = 1.0
        if layer_id is not None:
            depth, num_depths = layer_id(name)
            scale = layer_decay ** (num_depths - 1 - depth)
        groups.setdefault((decay, scale), []).append((name, parameter))
    return [
        {"params": parameters, "weight_decay": decay, "lr_scale": scale}
        for (decay, scale), parameters in groups.items()
    ]


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Gives each group ``lr`` times its ``lr_scale``."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
