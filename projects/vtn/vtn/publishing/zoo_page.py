"""Texts about the model zoo: the page MODEL_ZOO.md, and the answers of ``slowfast zoo``."""

from __future__ import annotations

from collections.abc import Sequence

from slowfast.errors import ConfigError, did_you_mean
from slowfast.visualization.text_table import align_columns
from vtn.publishing.zoo import Weights, ZooEntry

_COLUMNS = ("config", "data", "top-1", "top-5", "parameters (M)", "GMACs", "weights")


def render_table(entries: Sequence[ZooEntry]) -> str:
    """Returns a table of all models, for the terminal."""
    rows = [_COLUMNS, *(_text_row(entry) for entry in entries)]
    return "\n".join(align_columns(rows, left=range(len(_COLUMNS))))


def _text_row(entry: ZooEntry) -> tuple[str, ...]:
    file = entry.weights.file if entry.weights else "–"
    size = f"{entry.parameters:.1f}", f"{entry.gmacs:.0f}"
    return entry.config, entry.data, *_accuracies(entry), *size, file


def _accuracies(entry: ZooEntry) -> tuple[str, str]:
    weights = entry.weights
    return (f"{weights.top1:.2f}", f"{weights.top5:.2f}") if weights else ("–", "–")


def describe_model(entries: Sequence[ZooEntry], config: str) -> str:
    """Returns how one model's weights are downloaded, evaluated and used, for the terminal.

    Args:
        entries: all models.
        config: the model's configuration, in upper or lower case.

    Raises:
        ConfigError: where no model of the zoo has that configuration.
    """
    by_config = {entry.config.casefold(): entry for entry in entries}
    entry = by_config.get(config.casefold())
    if entry is None:
        names = {key: found.config for key, found in by_config.items()}
        hint = did_you_mean(config.casefold(), names, otherwise=f"choose one of {', '.join(names.values())}")
        raise ConfigError(f"{config}: must be a configuration of the zoo; {hint}")
    head = f"{entry.name}: configuration {entry.config}, {entry.parameters:.1f} million parameters"
    if entry.weights is None:
        return f"{head}\nNo trained weights were published."
    weights = entry.weights
    return "\n".join(
        [
            head,
            f"{weights.top1} % top-1 and {weights.top5} % top-5 on {entry.data}",
            f"SHA-256: {weights.sha256}",
            "",
            "download:",
            f"  curl -O {weights.url}",
            "test on your copy of the data set:",
            *(f"  {line}" for line in _test_command(entry, weights)),
            "classify a video:",
            f"  vtn predict --cfg {entry.config} --checkpoint {weights.file} video.mp4",
        ]
    )


def render_zoo_page(entries: Sequence[ZooEntry]) -> str:
    """Returns the page MODEL_ZOO.md."""
    published = [(entry, entry.weights) for entry in entries if entry.weights]
    return "\n".join(
        [
            "# Model zoo",
            "",
            "<!-- From projects/vtn/zoo.yaml by tools/model_zoo.py --page MODEL_ZOO.md; edit that file. -->",
            "",
            f"| {' | '.join(('model', *_COLUMNS))} |",
            f"| {' | '.join(['---'] * (1 + len(_COLUMNS)))} |",
            *(_page_row(entry) for entry in entries),
            "",
            "GMACs are counted for a test video of 250 frames, without the matrix products of attention, as "
            "in the paper; the numbers in parentheses are the paper's. `slowfast analyze flops --cfg "
            "VIT_B_VTN --frames 250` counts with and without these products. A dash: no trained weights "
            "were published.",
            *(line for entry, weights in published for line in _page_section(entry, weights)),
            "",
        ]
    )


def _page_row(entry: ZooEntry) -> str:
    weights = entry.weights
    cells = [
        entry.name,
        f"`{entry.config}`",
        entry.data,
        *_accuracies(entry),
        _with_paper(f"{entry.parameters:.1f}", entry.paper.get("parameters")),
        _with_paper(f"{entry.gmacs:.0f}", entry.paper.get("gmacs")),
        f"[{weights.file}]({weights.url})" if weights else "–",
    ]
    return f"| {' | '.join(cells)} |"


def _with_paper(own: str, paper: float | None) -> str:
    return own if paper is None else f"{own} ({paper:g})"


def _page_section(entry: ZooEntry, weights: Weights) -> list[str]:
    """Returns the lines about one model's weights: download, evaluation, use in Python."""
    return [
        "",
        f"## {entry.name}",
        "",
        f"{weights.top1} % top-1 and {weights.top5} % top-5 on {entry.data}, according to {weights.source}. "
        "The same evaluation:",
        "",
        "```bash",
        f"curl -O {weights.url}",
        *_test_command(entry, weights),
        "```",
        "",
        "In Python; the file's hash is checked:",
        "",
        "```python",
        "import vtn",
        "",
        f'model = vtn.create_model("{entry.config}", checkpoint="{weights.file}")',
        "```",
        "",
        f"SHA-256: `{weights.sha256}`",
    ]


def _test_command(entry: ZooEntry, weights: Weights) -> list[str]:
    """Returns the lines of the command that measures the published accuracy."""
    lines = [
        f"slowfast run --cfg {entry.config} TRAIN.ENABLE False \\",
        f"    TEST.CHECKPOINT_FILE_PATH {weights.file} \\",
        "    DATA.PATH_TO_DATA_DIR kinetics400",
    ]
    if weights.evaluation:
        lines[-1] += " \\"
        lines.append(f"    {' '.join(weights.evaluation)}")
    return lines
