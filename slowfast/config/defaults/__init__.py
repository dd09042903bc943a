"""The framework's config keys with their defaults, one module per topic.

Keys without a mark have PySlowFast's names and values. ``(new)`` marks keys that PySlowFast does not have,
``(VTN)`` keys of the original VTN code. A key exists only if the code reads it; the other keys of
PySlowFast are in ``slowfast.config.obsolete``. Projects add keys through ``slowfast.registry.Project``.
"""

from __future__ import annotations

from fvcore.common.config import CfgNode

from slowfast.config.defaults import data, evaluation, model, results, run, training
from slowfast.registry import projects

_TOPICS = (training, evaluation, model, data, run, results)


def get_default_config() -> CfgNode:
    """Returns a new configuration with the framework's keys and those of all installed projects."""
    cfg = CfgNode()
    for topic in _TOPICS:
        cfg.update(topic.KEYS.clone())
    for project in projects():
        project.add_config(cfg)
    return cfg


def project_sections() -> tuple[str, ...]:
    """Returns the names of the sections that projects add, such as those of networks."""
    framework = {name for topic in _TOPICS for name in topic.KEYS}
    return tuple(name for name in get_default_config() if name not in framework)


get_cfg = get_default_config
"""PySlowFast's name of :func:`get_default_config`."""
