"""The model zoo: the published models, and how their weight files are recognised."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from slowfast.errors import CheckpointError
from slowfast.log import get_logger

logger = get_logger(__name__)


@dataclass(frozen=True)
class Weights:
    """A published weight file.

    Attributes:
        file: name of the file.
        url: address from which the file is downloaded.
        sha256: SHA-256 of the file, in hexadecimal.
        top1, top5: accuracy in percent, measured with the overrides ``evaluation``.
        source: publication of the accuracy, in Markdown.
        evaluation: ``[KEY, VALUE, …]`` that the accuracy was measured with.
    """

    file: str
    url: str
    sha256: str
    top1: float
    top5: float
    source: str
    evaluation: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ZooEntry:
    """A model of the zoo.

    Attributes:
        name: name of the model, for readers.
        config: name of the shipped configuration.
        data: data set that the model is trained on.
        parameters: number of parameters, in millions.
        gmacs: multiply-adds per test video in 10⁹, without the matrix products of attention.
        paper: ``parameters`` and ``gmacs`` as the paper states them, where it does.
        weights: the published weights; None where none were published.
    """

    name: str
    config: str
    data: str
    parameters: float
    gmacs: float
    paper: Mapping[str, float] = field(default_factory=dict)
    weights: Weights | None = None


@cache
def read_zoo() -> tuple[ZooEntry, ...]:
    """Returns the models listed in ``zoo.yaml``, which is installed with the package."""
    try:
        # A folder without __init__.py: its files can be read, but in a wheel it has no path of its own.
        text = (resources.files("vtn.zoo_data") / "zoo.yaml").read_text(encoding="utf-8")
    except ModuleNotFoundError:  # in a checkout that is not installed the file lies beside the package
        text = (Path(__file__).parents[2] / "zoo.yaml").read_text(encoding="utf-8")
    return tuple(_parse_entry(content) for content in yaml.safe_load(text))


def _parse_entry(content: dict[str, Any]) -> ZooEntry:
    weights = content.pop("weights", None)
    return ZooEntry(**content, weights=Weights(**weights) if weights else None)


def find_zoo_entry(path: str | Path) -> ZooEntry | None:
    """Returns the model whose published weights a file holds; None for a file of the user's own.

    A file is recognised by its SHA-256.

    Raises:
        CheckpointError: where the file has the name of a published file and another SHA-256.
    """
    path = Path(path)
    found = file_sha256(path)
    for entry in read_zoo():
        if (weights := entry.weights) is None:
            continue
        if found == weights.sha256:
            logger.info("%s: verified, the published weights of %s", path, entry.name)
            return entry
        if path.name == weights.file:
            raise CheckpointError(
                f"{path}: has the name of the published weights of {entry.name}, but its SHA-256 is {found} "
                f"({path.stat().st_size:,} bytes), not {weights.sha256}; it is incomplete or was changed: "
                f"download it again from {weights.url}, or rename it if it is your own"
            )
    return None


def file_sha256(path: str | Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal.

    Raises:
        CheckpointError: where the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{path} cannot be read: {reason}") from error
