"""The output folder of a search, which holds results of one set of features, videos and settings."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from slowfast.errors import ConfigError
from slowfast.features.cache import Manifest
from slowfast.files import read_json_object, write_text
from slowfast.probe.candidate import changed
from slowfast.probe.feature_table import FeatureTable
from slowfast.probe.tasks import Problem

IDENTITY = "probe_settings.json"


def claim_results_folder(folder: Path, problem: Problem, manifest: Manifest | None) -> None:
    """Raises ``ConfigError`` where the folder holds results of other data or settings.

    The configuration counts except its output folder, the number of processes and the like.

    Args:
        manifest: description of a cache; None for features of other programs.
    """
    cfg = changed(problem.cfg, [("OUTPUT_DIR", ""), ("NUM_GPUS", 0), ("LOG_PERIOD", 1)])
    table = problem.table
    data = [table.paths, table.segments, table.labels.tolist(), problem.folds.tolist(), problem.groups]
    settings = {
        "configuration": hashlib.sha256(cfg.dump().encode()).hexdigest(),
        "videos, groups and folds": hashlib.sha256(json.dumps(data).encode()).hexdigest(),
        "features": _hash_features(table, manifest),
    }
    path = folder / IDENTITY
    if path.is_file():
        earlier = read_json_object(path)
        if different := [name for name, value in settings.items() if earlier.get(name) != value]:
            raise ConfigError(
                f"OUTPUT_DIR = {str(folder)!r}: must be empty or hold a search of the same data and "
                f"settings; its search has other {' and '.join(different)}. Choose another folder"
            )
    write_text(path, json.dumps(settings, indent=2) + "\n")


def _hash_features(table: FeatureTable, manifest: Manifest | None) -> str:
    """Returns a hash of the rows and their times, and of the model that a cache names.

    The rows themselves count, because files of other programs do not say what they were made of, and because
    a cache may be extracted again from other videos of the same names. Normalisation and dtype act on results
    through the rows only.
    """
    source = {} if manifest is None else manifest.as_dict()["source"]
    row_format = [str(table.rows.dtype), table.row_shape, table.starts.tolist()]
    found = hashlib.sha256(json.dumps([source, row_format], sort_keys=True).encode())
    found.update(table.rows.contiguous().view(torch.uint8).numpy().data)
    for times in table.times:
        found.update(repr(times.times.duration).encode())
        for array in (times.times.seconds, times.times.centres, times.numbers, times.centres):
            found.update(b"-" if array is None else array.tobytes())
    return found.hexdigest()
