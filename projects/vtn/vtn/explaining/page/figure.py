"""An explanation as a figure, for a document or a slide.

T frames.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from slowfast.datasets.class_names import class_text
from slowfast.datasets.views.sampling import evenly_spaced
from slowfast.tracking.figure_text import as_figure_text
from vtn.explaining.faithfulness import RANDOM
from vtn.explaining.page.content import shown_classes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from vtn.explaining.explanation import Explanation

_STRIP_FRAMES = 12


def draw_explanation(explanation: Explanation) -> Figure:
    """Draws a filmstrip, scores, influence of the frames, attention, and the faithfulness of rankings."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    has_attention = explanation.attention is not None
    style = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "axes.titlesize": 10}
    with rc_context(style):  # type: ignore[arg-type]
        figure = Figure(figsize=(11, 8.6 if has_attention else 7.0), layout="constrained")
        heights = [1.1, 1.3, 1.3, *([1.6] if has_attention else []), 1.5]
        rows = figure.add_gridspec(len(heights), 2, height_ratios=heights)
        _draw_strip(figure.add_subplot(rows[0, :]), explanation)
        _draw_scores(figure.add_subplot(rows[1, :]), explanation)
        _draw_influence(figure.add_subplot(rows[2, :]), explanation)
        if has_attention:
            _draw_attention(figure.add_subplot(rows[3, :]), explanation)
        for column, kind in enumerate(("deletion", "insertion")):
            _draw_faithfulness(figure.add_subplot(rows[-1, column]), explanation, kind)
        score = explanation.prediction.scores[explanation.label]
        figure.suptitle(as_figure_text(f"{explanation.class_text}, score {score:.3f}"), fontsize=13)
    return figure


def _draw_strip(axes: Axes, explanation: Explanation) -> None:
    """Draws pictures of evenly spaced frames side by side, each with its time."""
    pictures = explanation.pictures
    rows = np.array(sorted(pictures.jpegs))
    rows = rows[evenly_spaced(len(rows), _STRIP_FRAMES)]
    images = [np.asarray(Image.open(io.BytesIO(pictures.jpegs[int(row)]))) for row in rows]
    gap = np.full((pictures.height, max(2, pictures.width // 30), 3), 255, np.uint8)
    strip = np.concatenate([part for image in images for part in (image, gap)][:-1], axis=1)
    axes.imshow(strip)
    step = pictures.width + gap.shape[1]
    axes.set_xticks(
        [number * step + pictures.width / 2 for number in range(len(rows))],
        [f"{explanation.seconds[row]:.2f} s" for row in rows],
    )
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _draw_scores(axes: Axes, explanation: Explanation) -> None:
    names = explanation.prediction.class_names
    growing = explanation.growing
    for k in shown_classes(explanation):
        width, name = 2.2 if k == explanation.label else 1.2, as_figure_text(class_text(names[k], k))
        axes.plot(explanation.seconds[growing.rows], growing.scores[:, k], label=name, linewidth=width)
    axes.set_title("scores of the video up to here", loc="left")
    axes.set_ylim(bottom=min(0.0, float(growing.scores.min())))
    lengths = [len(str(line.get_label())) + 8 for line in axes.lines]
    place: Any = {"ncols": 5, "loc": "upper right", "bbox_to_anchor": (1, 1.22)}
    if sum(lengths) > 100:  # would cover the title
        place = {"ncols": min(5, 150 // max(lengths) or 1), "loc": "upper left", "bbox_to_anchor": (0, -0.14)}
    axes.legend(fontsize=8, frameon=False, **place)
    _limit(axes, explanation)


def _draw_influence(axes: Axes, explanation: Explanation) -> None:
    """Draws the fall of the log-odds by occlusion as bars, and by gradient as a line."""
    width = explanation.prediction.seconds / len(explanation.seconds)
    values = explanation.occlusion.evidence
    axes.bar(explanation.seconds, values, width=0.8 * width, label="occlusion")
    axes.plot(explanation.seconds, explanation.gradient, color="C1", linewidth=1.2, label="gradient × input")
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set_title("influence of each frame on the log-odds of the class", loc="left")
    axes.legend(fontsize=8, ncols=2, frameon=False, loc="upper right", bbox_to_anchor=(1, 1.22))
    _limit(axes, explanation)


def _draw_attention(axes: Axes, explanation: Explanation) -> None:
    """Draws the heads of all layers as rows, the roll-out as the lowest one."""
    attention = explanation.attention
    assert attention is not None
    L, N, T = attention.layers.shape
    table = np.concatenate([attention.layers.reshape(L * N, T), attention.rollout[None]])
    # Pixels of equal width: the frames are nearly evenly spaced in time.
    extent = (*_time_span(explanation), len(table) - 0.5, -0.5)
    axes.imshow(table, aspect="auto", cmap="Blues", extent=extent, interpolation="nearest", vmin=0)
    axes.set_yticks(
        [(layer + 0.5) * N - 0.5 for layer in range(L)] + [L * N],
        [f"layer {layer + 1}" for layer in range(L)] + ["roll-out"],
    )
    axes.hlines([layer * N - 0.5 for layer in range(1, L + 1)], *extent[:2], color="white", linewidth=1.5)
    axes.set_title(f"attention of [CLS], one row for each of {N} heads", loc="left")
    _limit(axes, explanation)


def _draw_faithfulness(axes: Axes, explanation: Explanation, kind: str) -> None:
    for name, curves in explanation.faithfulness.items():
        curve = getattr(curves, kind)
        style: Any = {"color": "0.55", "linestyle": "--"} if name == RANDOM else {}
        axes.plot(curve.fractions, curve.scores, label=f"{name}, area {curve.area:.3f}", **style)
    done = "deleted" if kind == "deletion" else "shown"
    axes.set_title(f"{kind}: score by fraction of frames {done}", loc="left")
    axes.set_xlim(0, 1)
    axes.legend(fontsize=8, frameon=False)


def _limit(axes: Axes, explanation: Explanation) -> None:
    """Gives the rows of the figure the same axis of time."""
    axes.set_xlim(_time_span(explanation))
    axes.xaxis.set_major_formatter("{x:g} s")


def _time_span(explanation: Explanation) -> tuple[float, float]:
    """Returns the limits of the axis of time, on which each frame is as wide as its mean duration."""
    half = explanation.prediction.seconds / len(explanation.seconds) / 2
    return -half, explanation.prediction.seconds - half
