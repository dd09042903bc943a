"""The check of a whole configuration; each problem is one sentence, ``KEY = value: must be X; remedy``.

Value checks hold for any use of a configuration. Run checks also cover what a run needs on this node. Parts
that are switched off are not checked.
"""

from __future__ import annotations

from fvcore.common.config import CfgNode

from slowfast.config import check_data, check_run, check_training
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
    problems = []
    for module in cfg.IMPORTS:
        try:
            import_user_modules([module])
        except ConfigError as error:
            problems += error.problems
    if not problems:  # names that a failed module would have registered are not its users' mistake
        problems += check_names(cfg)
    problems += [*check_values(cfg), *check_data.check_labels(cfg), *check_data.check_pixels(cfg)]
    problems += [*check_data.check_views(cfg), *check_data.check_features(cfg)]
    if cfg.TRAIN.ENABLE or cfg.TEST.ENABLE:
        problems += check_training.check_loss_arguments(cfg)
    if cfg.TRAIN.ENABLE:
        problems += check_data.check_augmentation(cfg)
        problems += check_training.check_solver(cfg)
        problems += check_training.check_parallel(cfg)
        problems += check_training.check_objective(cfg)
        problems += check_training.check_selection(cfg)
        problems += check_training.check_precision(cfg)
    if cfg.SHARD_ID not in range(max(cfg.NUM_SHARDS, 1)):
        problems.append(
            f"SHARD_ID = {cfg.SHARD_ID}: must be a node rank from 0 to NUM_SHARDS - 1 = "
            f"{cfg.NUM_SHARDS - 1}; give each node its own rank"
        )
    for project in projects():
        problems += project.check(cfg)
    if for_run:
        problems += [*check_run.check_inputs(cfg), *check_data.check_feature_cache(cfg)]
        problems += [*check_run.check_weights(cfg), *check_run.check_output(cfg)]
        problems += [*check_data.check_num_classes(cfg), *check_run.check_trackers(cfg)]
        problems += [*check_run.check_demo(cfg), *check_run.check_wrong_predictions(cfg)]
        problems += check_run.check_model_view(cfg)
    return problems
