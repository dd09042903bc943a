"""Building of the trackers that a configuration names."""

from __future__ import annotations

import secrets
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast.config.derived import tracker_names
from slowfast.config.values import flatten
from slowfast.datasets.class_names import build_class_names
from slowfast.distributed.device import describe_device
from slowfast.distributed.world import World
from slowfast.files import write_text
from slowfast.tracking.environment import describe_environment
from slowfast.tracking.kinds import TRACKER_REGISTRY
from slowfast.tracking.tracker import RunDescription
from slowfast.tracking.trackers import Trackers

RUN_ID_FILE = "run_id.txt"


def build_trackers(cfg: CfgNode, world: World) -> Trackers:
    """Starts the trackers of the configuration on rank 0; on other ranks the result is empty."""
    names = tracker_names(cfg)
    if not (names and world.is_main):
        return Trackers()
    folder = Path(cfg.OUTPUT_DIR)
    description = RunDescription(
        name=folder.absolute().name,
        project=cfg.TRACKER_PROJECT,
        folder=folder,
        run_id=_find_run_id(folder),
        config=flatten(cfg),
        environment=describe_environment(describe_device(world.device)),
        class_names=tuple(build_class_names(cfg)),
    )
    return Trackers([(name, TRACKER_REGISTRY.get(name)) for name in names], description)


def _find_run_id(folder: Path) -> str:
    """Returns the id of the run in a folder; its first start writes it to a file."""
    path = folder / RUN_ID_FILE
    if not path.is_file():
        write_text(path, secrets.token_hex(4) + "\n")
    return path.read_text(encoding="utf-8").strip()
