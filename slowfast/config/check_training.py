"""Checks of the keys about optimisation and about processes that train together."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from fvcore.common.config import CfgNode

from slowfast.config.values import flatten
from slowfast.errors import ConfigError
from slowfast.registry import registry_of


def check_loss_arguments(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of the arguments of the loss, which tests compute, too."""
    losses: Any = registry_of("MODEL.LOSS_FUNC")
    loss = cfg.MODEL.LOSS_FUNC
    if loss in losses:  # other names are reported by check_names
        yield from _check_arguments("LOSS.ARGS", cfg.LOSS.ARGS, losses.get(loss), loss)


def check_objective(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of the section LOSS by which training changes the loss."""
    losses: Any = registry_of("MODEL.LOSS_FUNC")
    loss, scheme = cfg.MODEL.LOSS_FUNC, cfg.LOSS.CLASS_WEIGHTS
    if loss in losses and scheme != "none" and losses.forms_of(loss).each is None:
        yield (
            f"LOSS.CLASS_WEIGHTS = {scheme!r}: must be 'none' for MODEL.LOSS_FUNC {loss}, whose values "
            "per clip are unknown; register the loss with each=, or use a built-in one"
        )
    if scheme in registry_of("LOSS.CLASS_WEIGHTS"):
        yield from _check_class_weights(cfg, registry_of("LOSS.CLASS_WEIGHTS").get(scheme))
    if cfg.LOSS.LABEL_SMOOTHING > 0 and cfg.MIXUP.ENABLE:
        yield (
            f"LOSS.LABEL_SMOOTHING = {cfg.LOSS.LABEL_SMOOTHING}: must be 0 where MIXUP.ENABLE is True, which "
            "smooths labels itself; set MIXUP.LABEL_SMOOTH_VALUE instead"
        )


def _check_class_weights(cfg: CfgNode, scheme: Callable[..., Any]) -> Iterator[str]:
    import numpy as np

    options = cfg.LOSS.CLASS_WEIGHT_ARGS
    problems = list(_check_arguments("LOSS.CLASS_WEIGHT_ARGS", options, scheme, cfg.LOSS.CLASS_WEIGHTS))
    yield from problems
    if not problems:  # the scheme itself checks the values
        try:
            scheme(np.ones(cfg.MODEL.NUM_CLASSES), **options)
        except ConfigError as error:
            yield from error.problems
        except (TypeError, ValueError) as error:
            yield f"LOSS.CLASS_WEIGHT_ARGS = {dict(options)}: must fit {cfg.LOSS.CLASS_WEIGHTS} ({error})"


def _check_arguments(key: str, arguments: CfgNode, function: Callable[..., Any], name: str) -> Iterator[str]:
    """Yields the problems of keyword arguments that a function does not take, or lacks."""
    parameters = inspect.signature(function).parameters.values()
    keywords = [parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    known = ", ".join(parameter.name for parameter in keywords) or "nothing"
    unknown = set(arguments) - {parameter.name for parameter in keywords}
    for argument in sorted(unknown) if not takes_any else ():
        given = f"{key}.{argument} = {arguments[argument]!r}"
        yield f"{given}: must be a parameter of {name}, which takes {known}"
    for parameter in keywords:
        if parameter.default is parameter.empty and parameter.name not in arguments:
            yield f"{key} = {dict(arguments)}: must contain {parameter.name}, which {name} needs"


def check_solver(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of the section SOLVER."""
    solver = cfg.SOLVER
    if solver.BASE_LR <= 0:
        yield f"SOLVER.BASE_LR = {solver.BASE_LR}: must be above 0"
    if not 0 < solver.LAYER_DECAY <= 1:
        yield f"SOLVER.LAYER_DECAY = {solver.LAYER_DECAY}: must be above 0 and at most 1; use 1 for no decay"
    if len(solver.BETAS) != 2 or not all(0 <= beta < 1 for beta in solver.BETAS):
        yield f"SOLVER.BETAS = {solver.BETAS}: must be two fractions below 1, such as [0.9, 0.999]"
    clips = {key: solver[key] for key in ("CLIP_GRAD_VAL", "CLIP_GRAD_L2NORM") if solver[key] is not None}
    for key, limit in clips.items():
        if limit <= 0:
            yield f"SOLVER.{key} = {limit}: must be above 0; use None for no clipping"
    if len(clips) == 2:
        yield (
            f"SOLVER.CLIP_GRAD_VAL = {solver.CLIP_GRAD_VAL}: must be None where SOLVER.CLIP_GRAD_L2NORM is "
            "set; set one of the two to None"
        )
    for part, factor in flatten(solver.LR_FACTORS).items():
        if isinstance(factor, bool) or not isinstance(factor, int | float) or factor <= 0:
            yield (
                f"SOLVER.LR_FACTORS.{part} = {factor!r}: must be a factor above 0, such as 0.1; to keep a "
                "part as it is, freeze it"
            )
    if solver.LR_POLICY == "steps_with_relative_lrs":
        yield from _check_steps(solver)
    after_warmup = solver.LR_POLICY == "cosine" and solver.COSINE_AFTER_WARMUP
    if after_warmup and solver.WARMUP_EPOCHS >= solver.MAX_EPOCH:
        yield (
            f"SOLVER.WARMUP_EPOCHS = {solver.WARMUP_EPOCHS}: must leave epochs for the cosine that follows; "
            f"use fewer than SOLVER.MAX_EPOCH = {solver.MAX_EPOCH}"
        )
    if solver.WARMUP_EPOCHS > 0 and solver.WARMUP_START_LR > solver.BASE_LR > 0:
        yield (
            f"SOLVER.WARMUP_START_LR = {solver.WARMUP_START_LR:g}: must be at most SOLVER.BASE_LR = "
            f"{solver.BASE_LR:g} where SOLVER.WARMUP_EPOCHS is above 0; use {solver.BASE_LR / 100:g}, or "
            "SOLVER.WARMUP_EPOCHS 0"
        )


def check_selection(cfg: CfgNode) -> Iterator[str]:
    """Yields the problem of a metric that the validations of this configuration do not have."""
    metric, several = cfg.TRAIN.BEST_METRIC, cfg.DATA.MULTI_LABEL
    losses: Any = registry_of("MODEL.LOSS_FUNC")
    loss = cfg.MODEL.LOSS_FUNC
    no_loss = loss in losses and losses.forms_of(loss).labels == "values" and not several
    problem = ""
    if several and metric not in ("", "loss", "map"):
        problem = "must be map or loss where DATA.MULTI_LABEL is True"
    elif metric == "map" and not several:
        problem = "must be a metric of one class per video where DATA.MULTI_LABEL is False; use balanced_acc"
    elif metric == "auroc" and cfg.MODEL.NUM_CLASSES != 2:
        problem = f"must be another metric for MODEL.NUM_CLASSES {cfg.MODEL.NUM_CLASSES}; use balanced_acc"
    elif metric == "loss" and no_loss:
        problem = f"must be another metric, since MODEL.LOSS_FUNC {loss} is not computed in validation"
    if problem:
        yield f"TRAIN.BEST_METRIC = {metric!r}: {problem}"


def check_precision(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of the precision of training."""
    if cfg.TRAIN.MIXED_PRECISION and cfg.TRAIN.PRECISION not in ("float32", "mixed"):
        yield (
            f"TRAIN.PRECISION = {cfg.TRAIN.PRECISION!r}: must be mixed where TRAIN.MIXED_PRECISION is True, "
            "which is another name for it; set TRAIN.MIXED_PRECISION False"
        )


def check_parallel(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of the section PARALLEL."""
    accumulates = cfg.TRAIN.GRAD_ACCUM_STEPS > 1
    fsdp = cfg.PARALLEL.MODE == "fsdp"
    if cfg.PARALLEL.STATIC_GRAPH and (accumulates or cfg.PARALLEL.FIND_UNUSED_PARAMETERS or fsdp):
        yield (
            "PARALLEL.STATIC_GRAPH = True: must be False with TRAIN.GRAD_ACCUM_STEPS above 1, with "
            "PARALLEL.FIND_UNUSED_PARAMETERS, and with PARALLEL.MODE fsdp; set it False"
        )
    if fsdp and cfg.TRAIN.COMPILE:
        yield "TRAIN.COMPILE = True: must be False with PARALLEL.MODE fsdp, whose units are not compiled"
    if fsdp and cfg.DATA.FEATURES:
        yield (
            "PARALLEL.MODE = 'fsdp': must be ddp with DATA.FEATURES, since the model after the features is "
            "small; set ddp, or DATA.FEATURES '' to train on frames"
        )


def check_batch_sizes(cfg: CfgNode, processes: int) -> list[str]:
    """Returns the problems of batch sizes that cannot be divided among the processes of one node.

    Args:
        processes: number of processes that run on each node.
    """
    problems = []
    for name in ("TRAIN", "TEST"):
        size = cfg[name].BATCH_SIZE
        if cfg[name].ENABLE and size % processes:
            lower = size // processes * processes
            near = " or ".join(str(n) for n in (lower, lower + processes) if n)
            problems.append(
                f"{name}.BATCH_SIZE = {size}: must be a multiple of the {processes} processes of this "
                f"node; use {near}, or another number of processes (NUM_GPUS, or that of torchrun)"
            )
    return problems


def _check_steps(solver: CfgNode) -> Iterator[str]:
    steps, lrs = list(solver.STEPS), list(solver.LRS)
    if not steps or steps[0] != 0 or steps != sorted(set(steps)):
        yield f"SOLVER.STEPS = {steps}: must be ascending epochs that start with 0, such as [0, 13, 24]"
    # PySlowFast's files have more learning rates than steps; the last ones are never used.
    if len(lrs) < len(steps):
        yield (
            f"SOLVER.LRS = {lrs}: must have one learning rate for each of the {len(steps)} SOLVER.STEPS; "
            f"add {len(steps) - len(lrs)}"
        )
    if any(lr <= 0 for lr in lrs):
        yield f"SOLVER.LRS = {lrs}: must be above 0; the learning rates are factors of SOLVER.BASE_LR"
