"""Copies of a model's files with other values."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml

from slowfast.checkpoint.storage import read_checkpoint
from tests.support.configs import set_keys


def changed_checkpoint(checkpoint: Path, target: Path, **changes: Any) -> Path:
    """Writes a copy whose configuration has other values; returns its path.

    ``changes`` are sections and keys, joined by ``__``.
    """
    content = read_checkpoint(checkpoint)
    config = yaml.safe_load(content["cfg"])
    set_keys(config, **changes)
    torch.save({**content, "cfg": yaml.safe_dump(config)}, target)
    return target


def changed_folder(published: Path, target: Path, name: str = "config.json", **changes: Any) -> Path:
    """Copies a published folder with other values in a file of JSON; returns its path."""
    shutil.copytree(published, target)
    file = target / name
    content = json.loads(file.read_text())
    set_keys(content, **changes)
    file.write_text(json.dumps(content))
    return target
