"""The table of shipped configurations, from the files and the comments in their first lines."""

from __future__ import annotations

from pathlib import Path

from slowfast.config import load_config
from vtn_site.repository_pages import ROOT

FOLDER = ROOT / "configs" / "VTN"


def recipe_table() -> str:
    """Returns a Markdown table of the recipes in ``configs/VTN``, files that others are based on left out."""
    rows = ["| recipe | description | backbone | encoder | epochs |", "| --- | --- | --- | --- | --- |"]
    for path in sorted(FOLDER.glob("*.yaml")):
        if path.stem.startswith("BASE_"):
            continue
        cfg = load_config(path, warn=False)
        encoder = cfg.VTN.LONGFORMER
        depth = "1 layer" if encoder.NUM_HIDDEN_LAYERS == 1 else f"{encoder.NUM_HIDDEN_LAYERS} layers"
        shape = f"{depth}, width {encoder.HIDDEN_DIM}" if cfg.MODEL.MODEL_NAME == "VTN" else "attentive probe"
        backbone = f"`{cfg.VTN.BACKBONE.NAME}`" + (", frozen" if cfg.VTN.BACKBONE.FROZEN else "")
        cells = (f"`{path.stem}`", leading_comment(path), backbone, shape, str(cfg.SOLVER.MAX_EPOCH))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def leading_comment(path: Path) -> str:
    """Returns the comment in the first lines of a YAML file as one line; empty without one."""
    words = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        words.append(line.lstrip("# ").rstrip())
    return " ".join(words).replace("|", r"\|")
