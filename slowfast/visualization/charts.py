"""Charts: the curves of runs as a matplotlib figure, and charts as SVG inside an HTML page.

A page must work without a network and without scripts, and must follow the light or dark mode of the reader.
Therefore the SVG that matplotlib writes gets the colours, the fonts and the accessible name of the page: it
is drawn with the placeholder colours ``PAGE_COLORS``, which :func:`inline_svg` replaces by the CSS variables
of the page.
The bars under a filmstrip are written as SVG directly, since each must be exactly below its frame.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

from slowfast.tracking.figure_text import as_figure_text
from slowfast.visualization.run_log import Metric, RunLog, Split

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS: dict[Metric, str] = {"top1": "top-1, %", "map": "mAP", "loss": "loss"}
_CURVES: tuple[tuple[Split, str, str], ...] = (("train", "training", "--"), ("val", "validation", "o-"))
"""(split, name in legends, line style of matplotlib)"""
NUM_COLORS = 4
"""Number of line colours, ``--c0`` … in the style sheet of a page."""
PAGE_COLORS = {
    **{f"#00000{number + 1}": f"var(--c{number})" for number in range(NUM_COLORS)},
    "#000011": "var(--rule)",
    "#000012": "var(--soft)",
}
"""Placeholder in a matplotlib figure -> CSS variable of the page."""
_PAGE_STYLE: Any = {  # matplotlib types its keys one by one
    "svg.fonttype": "none",
    "font.size": 15,  # as in the style sheet of the page
    "axes.axisbelow": True,  # lines of the grid would cut bars into pieces
    "axes.edgecolor": "#000012",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 1.0,
    "grid.color": "#000011",
    "xtick.color": "#000012",
    "xtick.labelcolor": "black",
    "ytick.color": "#000012",
    "ytick.labelcolor": "black",
}
_PAGE_WIDTH = 560


def draw_curves(runs: Sequence[RunLog]) -> Figure:
    """Draws the metrics that the runs have side by side, with a legend."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    shown = [metric for metric in LABELS if has_curve(runs, metric)] or ["loss"]
    with rc_context({"grid.alpha": 0.3}):
        figure = Figure(figsize=(5.5 * len(shown), 4), layout="constrained")
        for axes, metric in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            plot_runs(axes, runs, metric, colors=[f"C{number}" for number in range(len(runs))])
        # Some runs have no accuracy, so that their names are missing there.
        max(figure.axes, key=lambda axes: len(axes.lines)).legend(fontsize="small")
    return figure


def has_curve(runs: Sequence[RunLog], metric: Metric) -> bool:
    """Returns whether a run has values of a metric."""
    return any(run.curve(metric, split) for run in runs for split, _, _ in _CURVES)


def curve_chart(runs: Sequence[RunLog], metric: Metric) -> str:
    """Returns one metric of runs over epochs as SVG for an HTML page; the page must have its own legend."""
    with page_figure() as figure:
        axes = figure.subplots()
        plot_runs(axes, runs, metric, colors=[_line_color(number) for number in range(len(runs))])
        if metric != "loss":
            axes.set_ylim(0, 100 if metric == "top1" else 1)
        return inline_svg(figure, f"{LABELS[metric]}, by epoch. {_description(runs, metric)}")


def line_chart(curves: Sequence[tuple[str, Sequence[float]]], *, xlabel: str, ylabel: str) -> str:
    """Returns curves of one value per x = 1, 2, … as SVG for an HTML page with a legend of its own.

    Args:
        curves: (name, values); curve n has the colour ``--c{n}`` of the page.
    """
    with page_figure() as figure:
        axes = figure.subplots()
        for number, (_, values) in enumerate(curves):
            axes.plot(range(1, len(values) + 1), values, color=_line_color(number))
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid()
        ends = [f"{name}: {values[0]:.3g} to {values[-1]:.3g}" for name, values in curves]
        return inline_svg(figure, f"{ylabel}, by {xlabel}. {'; '.join(ends)}")


@contextmanager
def page_figure(height: int = 300) -> Iterator[Figure]:
    """Yields an empty figure of that height in pixels, for :func:`inline_svg` within the context."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_PAGE_STYLE):
        yield Figure(figsize=(_PAGE_WIDTH / 72, height / 72), layout="constrained")


def _line_color(number: int) -> str:
    """Returns the placeholder of a line's colour."""
    return f"#00000{number % NUM_COLORS + 1}"


def plot_runs(axes: Axes, runs: Sequence[RunLog], metric: Metric, *, colors: Sequence[str]) -> None:
    """Plots one metric of each run over epochs: training dashed, validation solid with a dot per value."""
    for run, color in zip(runs, colors, strict=True):
        for split, name, style in _CURVES:
            if points := run.curve(metric, split):
                label = as_figure_text(f"{run.name}, {name}")
                width = 1.2 if split == "train" else 2.0
                axes.plot(
                    *zip(*points, strict=True), style, color=color, label=label, linewidth=width, markersize=4
                )
    axes.set_xlabel("epoch")
    axes.set_ylabel(LABELS[metric])
    axes.update_datalim([(0, 0)])  # so that the space above a curve fits axes that begin at 0
    axes.autoscale_view()
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid()


def inline_svg(figure: Figure, label: str) -> str:
    """Returns a figure as an SVG element for an HTML page, in the colours and the font of the page.

    The element has no fixed size, loads nothing, and refers to no identifiers of other charts in the page.

    Args:
        label: text for readers who do not see the chart.
    """
    from matplotlib import rc_context

    for artist in figure.findobj():
        artist.set_clip_on(False)  # clip paths are references by URL, which a page without a network avoids
    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": as_figure_text(label)}):
        # Without metadata, which consists of addresses on the web.
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=no_metadata)
    svg = file.getvalue()
    width, height = (72 * inches for inches in figure.get_size_inches())
    svg = re.sub(r"^.*?<svg[^>]*>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    # Within tags only: what looks like style in a text is part of a name.
    svg = re.sub(r"<[^>]*>", lambda tag: _as_page_tag(tag[0]), svg)
    head = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label={quoteattr(label)}>'
    return head + svg


def _as_page_tag(tag: str) -> str:
    """Returns a tag of matplotlib with the colours of the page, and without identifiers and fonts."""
    tag = re.sub(r'^<g id="[^"]*">', "<g>", tag)
    tag = re.sub(r"font(-size|-family)?: [^;\"]*;? ?", "", tag)  # the style sheet of the page has the font
    for color, variable in PAGE_COLORS.items():
        tag = tag.replace(color, variable)
    return tag


def bar_strip(values: Sequence[float], *, title: str) -> str:
    """Returns evenly spaced bars as SVG for an HTML page, to be placed below as many frames of equal width.

    Args:
        values: fractions, 0 … 1; the largest one has the full height, each is written in percent above its
            bar.
        title: text for readers who do not see the chart.
    """
    slot, height = 60, 52  # pixels
    largest = max([*values, 1e-12])
    elements = []
    for i, value in enumerate(values):
        bar = round(value / largest * (height - 18), 1)
        top = round(height - bar, 1)
        elements.append(
            f'<rect class="bar" x="{i * slot + 6}" y="{top}" width="{slot - 12}" height="{bar}" rx="3"/>'
            f'<text x="{i * slot + slot // 2}" y="{top - 4}" text-anchor="middle">{100 * value:.0f} %</text>'
        )
    percentages = ", ".join(f"{100 * value:.0f} %" for value in values)
    head = f'<svg viewBox="0 0 {slot * len(values)} {height}" role="img" aria-label='
    return f"{head}{quoteattr(f'{title}. {percentages}')}>{''.join(elements)}</svg>"


def _description(runs: Sequence[RunLog], metric: Metric) -> str:
    """Returns the first and the last value of each curve as text."""
    texts = []
    for run in runs:
        for split, name, _ in _CURVES:
            if points := run.curve(metric, split):
                texts.append(f"{run.name}, {name}: {points[0][1]:.3g} to {points[-1][1]:.3g}")
    return "; ".join(texts)
