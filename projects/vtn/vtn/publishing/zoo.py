"""The model zoo: what was published, how its files are recognised, and the page about it."""

from __future__ import annotations

import hashlib
import os
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
    """A published file.

    Attributes:
        file: its name.
        url: where it is.
        sha256: of the file.
        top1, top5: percent, measured with the overrides ``evaluation``.
        source: of those figures, in Markdown.
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
        name: for people.
        config: name of the shipped configuration.
        data: what it is trained on.
        parameters: millions.
        gmacs: 10⁹ multiply-adds a test video, without the products of attention.
        paper: the same figures as the paper gives them.
        weights: None where none are published.
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
    """Returns the models of ``zoo.yaml``, which travels with the package."""
    try:
        file = Path(str(resources.files("vtn.zoo_data"))) / "zoo.yaml"
    except ModuleNotFoundError:  # a checkout, where it lies beside the package
        file = Path(__file__).parents[2] / "zoo.yaml"
    return tuple(_entry(content) for content in yaml.safe_load(file.read_text(encoding="utf-8")))


def _entry(content: dict[str, Any]) -> ZooEntry:
    weights = content.pop("weights", None)
    return ZooEntry(**content, weights=Weights(**weights) if weights else None)


def find_published(path: str | Path) -> ZooEntry | None:
    """Returns the model whose published weights a file holds; None where it is a file of the user's own.

    A file is recognised by its SHA-256. One that has the name of a published file must have its hash, too.

    Raises:
        CheckpointError: where it has the name and not the hash.
    """
    path = Path(path)
    found = file_sha256(path)
    for entry in read_zoo():
        if entry.weights is None:
            continue
        if found == entry.weights.sha256:
            logger.info("%s: verified, the published weights of %s", path, entry.name)
            return entry
        if path.name == entry.weights.file:
            raise CheckpointError(
                f"{path}: has the name of the published weights of {entry.name}, but its SHA-256 is {found} "
                f"({os.path.getsize(path):,} bytes), not {entry.weights.sha256}; it is incomplete or was "
                f"changed: fetch it again from {entry.weights.url}, or rename it if it is your own"
            )
    return None


def file_sha256(path: str | Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal.

    Raises:
        CheckpointError: where it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def render_zoo(entries: tuple[ZooEntry, ...]) -> str:
    """The page about the zoo, in Markdown."""
    rows = [_row(entry) for entry in entries]
    published = [entry for entry in entries if entry.weights]
    return "\n".join(
        [
            "# Model zoo",
            "",
            "<!-- Made by tools/model_zoo.py of projects/vtn/zoo.yaml; change that, and run it again. -->",
            "",
            "| model | config | data | top-1 | top-5 | parameters (M) | GMACs | weights |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
            "GMACs are those of a test video of 250 frames, without the products of attention, as the paper "
            "counts them; in parentheses the paper's own figures. `python tools/analyze.py flops --cfg "
            "VIT_B_VTN --frames 250` counts both ways. A dash: no trained weights were published.",
            *(line for entry in published for line in _section(entry)),
            "",
        ]
    )


def _row(entry: ZooEntry) -> str:
    weights = entry.weights
    cells = [
        entry.name,
        f"`{entry.config}`",
        entry.data,
        f"{weights.top1:.2f}" if weights else "–",
        f"{weights.top5:.2f}" if weights else "–",
        _with_paper(f"{entry.parameters:.1f}", entry.paper.get("parameters")),
        _with_paper(f"{entry.gmacs:.0f}", entry.paper.get("gmacs")),
        f"[{weights.file}]({weights.url})" if weights else "–",
    ]
    return f"| {' | '.join(cells)} |"


def _with_paper(own: str, paper: float | None) -> str:
    return own if paper is None else f"{own} ({paper:g})"


def _section(entry: ZooEntry) -> list[str]:
    """How one model's published weights are fetched, evaluated and used."""
    weights = entry.weights
    if weights is None:
        return []
    overrides = f" \\\n    {' '.join(weights.evaluation)}" if weights.evaluation else ""
    return [
        "",
        f"## {entry.name}",
        "",
        f"{weights.top1} % top-1 and {weights.top5} % top-5 on {entry.data}, according to {weights.source}. "
        "The evaluation of exactly that:",
        "",
        "```bash",
        f"curl -O {weights.url}",
        f"python tools/run_net.py --cfg {entry.config} TRAIN.ENABLE False \\",
        f"    TEST.CHECKPOINT_FILE_PATH {weights.file} \\",
        f"    DATA.PATH_TO_DATA_DIR kinetics400{overrides}",
        "```",
        "",
        "In Python, with the file's hash checked:",
        "",
        "```python",
        "import vtn",
        "",
        f'model = vtn.create_model("{entry.config}", checkpoint="{weights.file}")',
        "```",
        "",
        f"SHA-256: `{weights.sha256}`",
    ]
