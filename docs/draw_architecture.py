#!/usr/bin/env python3
"""Draws docs/architecture.svg: the packages, and which imports which, read from the sources.

A drawn arrow stands for an import; one that follows from others is left out. ``--check`` exits with status 1
where the drawing is out of date.
"""

from __future__ import annotations

import argparse
import ast
import io
import sys
from pathlib import Path

import matplotlib
import networkx as nx

matplotlib.use("svg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {"slowfast": ROOT / "slowfast", "vtn": ROOT / "projects" / "vtn" / "vtn"}
DRAWING = ROOT / "docs" / "architecture.svg"

# Box -> its second line. A box holds the modules whose dotted name begins with its name, except those of a
# longer name in this table; ROOTS hold the modules at the root of a package.
CONTENTS = {
    "slowfast.root": "errors, log, registry, files, progress",
    "slowfast.cli.options": "options of commands",
    "slowfast.config": "keys, loading, checks",
    "slowfast.timing": "seconds per stage of loading",
    "slowfast.video": "file → exact frames",
    "slowfast.distributed": "processes, ranks, failures",
    "slowfast.solver": "optimisers, learning rates, EMA",
    "slowfast.datasets": "lists, views, clips, loading",
    "slowfast.features": "caches of features",
    "slowfast.metrics": "accuracy, intervals",
    "slowfast.models.capabilities": "protocols of a model",
    "slowfast.models.clip_grid": "clips and time steps of a model",
    "slowfast.models": "registries, losses, baselines",
    "slowfast.checkpoint": "files, weights, resuming",
    "slowfast.tracking": "TensorBoard and others",
    "slowfast.engine": "train, evaluate, test",
    "slowfast.extraction": "videos → feature cache",
    "slowfast.preparation": "scan, resize, split, stats",
    "slowfast.visualization": "report, charts",
    "slowfast.probe": "search on cached features",
    "slowfast.analysis": "complexity, curves, predictions",
    "slowfast.cli": "command slowfast",
    "vtn.config": "keys VTN.*, their checks",
    "vtn.arguments": "groups of settings",
    "vtn.encoder": "Longformer over frames",
    "vtn.head": "input, pooling, linear skip",
    "vtn.backbones": "image models, freezing, LoRA",
    "vtn.models": "VTN, FrameAverage, hub folders",
    "vtn.folder": "files of a published model",
    "vtn.publishing": "model zoo, publish",
    "vtn.factory": "create_model",
    "vtn.inference": "long videos, streams",
    "vtn.explaining": "attention, occlusion, page",
    "vtn.predictor": "videos to results",
    "vtn.exported": "ONNX, .pt2 as a model",
    "vtn.serving": "page, endpoint, workers",
    "vtn.exporting": "graphs, parity, speed",
    "vtn.transformers": "Auto classes, trainer",
    "vtn.probing": "candidates of a search",
    "vtn.quickstart": "made videos, report",
    "vtn.analysis": "list of backbones",
    "vtn.cli": "command vtn",
}
ROOTS = {"slowfast": "slowfast.root", "vtn": "vtn.models"}
COLOURS = {"slowfast": "#dbe9f6", "vtn": "#fde8cf"}


def box_of(module: str, path: Path | None = None) -> str:
    """Returns the box that a module belongs to.

    Args:
        module: dotted name of a module or package.
        path: its file, where it is known.

    Raises:
        KeyError: for a package without a box.
    """
    parts = module.split(".")
    for length in range(len(parts), 1, -1):
        if (name := ".".join(parts[:length])) in CONTENTS:
            return name
    if path is not None and path.parent != SOURCES[parts[0]]:
        raise KeyError(f"{path}: its package has no box; add it to CONTENTS")
    return ROOTS[parts[0]]


def read_imports() -> nx.DiGraph:
    """Returns the boxes with an edge from each one to all that it imports."""
    graph = nx.DiGraph()
    graph.add_nodes_from(CONTENTS)
    for package, folder in SOURCES.items():
        for path in sorted(folder.rglob("*.py")):
            own = box_of(".".join([package, *path.relative_to(folder).with_suffix("").parts]), path)
            if own == "vtn.models" and path.name == "project.py":
                continue  # the entry point names modules of all boxes
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module:
                    names = [f"{node.module}.{alias.name}" for alias in node.names]
                for target in names:
                    if target.split(".")[0] in SOURCES and (box := box_of(target)) != own:
                        graph.add_edge(own, box)
    return graph


def place(graph: nx.DiGraph) -> dict[str, tuple[float, float]]:
    """Returns box -> its centre: rows by the longest chain of imports below the box, columns by package."""
    rows: dict[str, int] = {}
    for name in reversed(list(nx.topological_sort(graph))):
        rows[name] = 1 + max((rows[below] for below in graph.successors(name)), default=-1)
    centres: dict[str, tuple[float, float]] = {}
    for row in sorted(set(rows.values())):
        for package, middle in (("slowfast", 0.0), ("vtn", 10.0)):
            names = sorted(name for name in rows if rows[name] == row and name.split(".")[0] == package)
            for column, name in enumerate(names):
                centres[name] = (middle + (column - (len(names) - 1) / 2) * 3.9, row * 1.35)
    return centres


def draw(graph: nx.DiGraph) -> str:
    """Returns the drawing as SVG text."""
    matplotlib.rcParams.update({"svg.hashsalt": "architecture", "svg.fonttype": "none", "font.size": 9})
    centres = place(graph)
    figure = Figure(figsize=(13, 0.62 * len({y for _, y in centres.values()}) + 1), facecolor="white")
    axes: Axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for upper, lower in sorted(nx.transitive_reduction(graph).edges):
        (x0, y0), (x1, y1) = centres[upper], centres[lower]
        style = {"arrowstyle": "-|>", "color": "#8a94a0", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (x1, y1 + 0.42), (x0, y0 - 0.42), arrowprops=style, zorder=1)
    for name, (x, y) in centres.items():
        colour = COLOURS[name.split(".")[0]]
        box = FancyBboxPatch(
            (x - 1.8, y - 0.4), 3.6, 0.8, boxstyle="round,pad=0.02", facecolor=colour, edgecolor="#54606e"
        )
        axes.add_patch(box)
        title = {"slowfast.root": "slowfast (root modules)", "vtn.models": "vtn (root modules)"}.get(
            name, name
        )
        size = 9 if len(title) < 26 else 7.5  # a longer name would not fit into its box
        axes.text(x, y + 0.14, title, ha="center", va="center", size=size, weight="bold", zorder=3)
        axes.text(x, y - 0.18, CONTENTS[name], ha="center", va="center", size=7.5, color="#333", zorder=3)
    axes.set_xlim(min(x for x, _ in centres.values()) - 2.0, max(x for x, _ in centres.values()) + 2.0)
    axes.set_ylim(-0.6, max(y for _, y in centres.values()) + 0.6)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def main() -> int:
    """Writes the drawing, or checks it, and returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; compare packages and arrows")
    args = parser.parse_args()
    graph = nx.transitive_reduction(read_imports())
    # The arrows are compared by this list, since another version of matplotlib writes another SVG.
    listing = "\n".join(f"{upper} -> {lower}" for upper, lower in sorted(graph.edges))
    stamp = f"<!-- imports:\n{listing.replace('->', '→')}\n-->\n"
    if args.check:
        if not DRAWING.is_file() or not DRAWING.read_text(encoding="utf-8").endswith(stamp):
            print(
                f"{DRAWING} is out of date; run: python {Path(__file__).relative_to(ROOT)}", file=sys.stderr
            )
            return 1
        return 0
    DRAWING.write_text(draw(read_imports()) + stamp, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
