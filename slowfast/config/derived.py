"""Values that follow from several keys of the framework."""

from __future__ import annotations

from fvcore.common.config import CfgNode

from slowfast.errors import ConfigError


def require_config(cfg: object) -> None:
    """Raises ``ConfigError`` for what is not a configuration, such as the name of one."""
    if not isinstance(cfg, CfgNode):
        raise ConfigError(
            f"cfg is a {type(cfg).__name__}: must be a configuration; slowfast.config.load_config reads one"
        )


def split_section(split: str) -> str:
    """Returns the section with data set and batch size of a split: ``TEST`` for "test", else ``TRAIN``."""
    return "TEST" if split == "test" else "TRAIN"


def dataset_key(split: str) -> str:
    """Returns the key that names the data set of a split."""
    return f"{split_section(split)}.DATASET"


def dataset_name(cfg: CfgNode, split: str) -> str:
    """Returns the name of the data set of a split."""
    return cfg[split_section(split)].DATASET


def trains_on_features(cfg: CfgNode) -> bool:
    """Returns whether training clips are features instead of frames."""
    return bool(cfg.DATA.FEATURES) or cfg.TRAIN.DATASET == "features"


def clips_per_video(cfg: CfgNode) -> int:
    """Returns the clips of each video per training step: ``AUG.NUM_SAMPLE``, or 1 without augmentation.

    Features are not augmented, and have several clips all the same: the times of the clips differ.
    """
    return cfg.AUG.NUM_SAMPLE if cfg.AUG.ENABLE or trains_on_features(cfg) else 1


def tracker_names(cfg: CfgNode) -> list[str]:
    """Returns the trackers of a run: ``TRACKERS``, and ``tensorboard`` where ``TENSORBOARD.ENABLE`` is True.

    The latter is PySlowFast's key.
    """
    names = list(cfg.TRACKERS)
    if cfg.TENSORBOARD.ENABLE and "tensorboard" not in names:
        names.append("tensorboard")
    return names


def uses_tensorboard(cfg: CfgNode) -> bool:
    """Returns whether a run writes to TensorBoard."""
    return "tensorboard" in tracker_names(cfg)
