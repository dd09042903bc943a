"""The check of a whole configuration; each problem is one sentence, ``KEY = value: must be X; remedy``.

Value checks hold for any use of a configuration. Run checks also cover what a run needs on this node. Parts
that are switched off are not checked.
"""

from __future__ import annotations

from collections.abc import Iterator

from fvcore.common.config import CfgNode

from slowfast.config.check_data import (
    check_augmentation,
    check_feature_cache,
    check_features,
    check_labels,
    check_num_classes,
    check_pixels,
    check_views,
)
from slowfast.config.check_run import (
    check_demo,
    check_inputs,
    check_model_view,
    check_output,
    check_trackers,
    check_weights,
    check_wrong_predictions,
)
from slowfast.config.check_training import (
    check_loss_arguments,
    check_objective,
    check_parallel,
    check_precision,
    check_selection,
    check_solver,
)
from slowfast.config.check_values import check_names, check_values
from slowfast.errors import ConfigError
from slowfast.registry import import_user_modules, projects


def check(cfg: CfgNode, *, for_run: bool = False) -> list[str]:
    """Returns the problems of a merged configuration, including those that the projects find.

    A problem is one sentence, ``KEY = value: what is wrong; remedy``. ``load_config`` adds the place where
    KEY was set, which it knows by the text in front of " = ".

    The modules in ``IMPORTS`` are imported first, so that the components they register are known.

    Args:
        cfg: all keys, with values of the right type.
        for_run: also check what only a run needs: data files, weights, the output folder.
    """
    problems = [*_import_user_modules(cfg)]
    if not problems:  # names that a failed module would have registered are not its users' mistake
        problems += check_names(cfg)
    problems += [*check_values(cfg), *check_labels(cfg), *check_pixels(cfg), *check_views(cfg)]
    problems += check_features(cfg)
    if cfg.TRAIN.ENABLE or cfg.TEST.ENABLE:
        problems += check_loss_arguments(cfg)
    if cfg.TRAIN.ENABLE:
        problems += [*check_augmentation(cfg), *check_solver(cfg), *check_parallel(cfg)]
        problems += check_objective(cfg)
        problems += check_selection(cfg)
        problems += check_precision(cfg)
    problems += _check_node_rank(cfg)
    for project in projects():
        problems += project.check(cfg)
    if for_run:
        problems += [*check_inputs(cfg), *check_feature_cache(cfg), *check_weights(cfg), *check_output(cfg)]
        problems += check_num_classes(cfg)
        problems += [*check_trackers(cfg), *check_demo(cfg), *check_wrong_predictions(cfg)]
        problems += check_model_view(cfg)
    return problems


def _import_user_modules(cfg: CfgNode) -> Iterator[str]:
    """Imports the modules in ``IMPORTS`` and yields the problems of those that cannot be imported."""
    for module in cfg.IMPORTS:
        try:
            import_user_modules([module])
        except ConfigError as error:
            yield from error.problems


def _check_node_rank(cfg: CfgNode) -> Iterator[str]:
    if cfg.SHARD_ID not in range(max(cfg.NUM_SHARDS, 1)):
        yield (
            f"SHARD_ID = {cfg.SHARD_ID}: must be a node rank from 0 to NUM_SHARDS - 1 = "
            f"{cfg.NUM_SHARDS - 1}; give each node its own rank"
        )
