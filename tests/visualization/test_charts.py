"""Charts for HTML pages are well-formed SVG that follows the values and has a description."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import pytest

from slowfast.tracking.figure_text import as_figure_text
from slowfast.visualization.charts import bar_strip, curve_chart, draw_curves, inline_svg, page_figure
from slowfast.visualization.run_log import EpochMetrics, RunLog

LINK = '<svg xmlns:xlink="http://www.w3.org/1999/xlink" '


def parse(svg: str) -> ElementTree.Element:
    """Parses an SVG element of an HTML page, which needs no declaration of its namespaces there."""
    return ElementTree.fromstring(svg.replace("<svg ", LINK, 1))


def log(values: list[float], name: str = "a <run>") -> RunLog:
    """Returns a run with these validation accuracies and a constant training loss."""
    epochs = [EpochMetrics(n, loss=1.0, val_top1=value) for n, value in enumerate(values, start=1)]
    return RunLog(name, epochs)


def test_a_curve_rises_from_left_to_right() -> None:
    chart = curve_chart([log([0.0, 50.0, 100.0])], "top1")
    svg = parse(chart)
    assert svg.attrib["aria-label"] == "top-1, %, by epoch. a <run>, validation: 0 to 100"
    assert svg.attrib["viewBox"] == "0 0 560 300"
    paths = [path.attrib for path in svg.iter("path") if "var(--c0)" in path.attrib.get("style", "")]
    (curve,) = (attributes["d"] for attributes in paths if attributes["d"].count("L") == 2)
    points = re.findall(r"([\d.]+) ([\d.]+)", curve)
    (x0, y0), (x1, y1), (x2, y2) = ((float(x), float(y)) for x, y in points)
    assert x0 < x1 < x2
    assert y0 > y1 > y2, "y grows downwards in SVG"
    assert y1 == pytest.approx((y0 + y2) / 2, abs=0.1)


def test_each_run_has_a_color_of_the_page() -> None:
    chart = curve_chart([log([10.0, 20.0], f"run {number}") for number in range(5)], "top1")
    assert set(re.findall(r"var\(--c(\d)\)", chart)) == {"0", "1", "2", "3"}


def test_charts_of_a_page_do_not_refer_to_each_other() -> None:
    charts = [curve_chart([log([1.0, 2.0])], metric) for metric in ("top1", "loss")]
    first, second = (set(re.findall(r' id="([^"]+)"', chart)) for chart in charts)
    assert first
    assert not first & second


def test_a_chart_without_points_is_drawn() -> None:
    chart = parse(curve_chart([RunLog("empty")], "loss"))
    assert chart.tag.endswith("svg")


def test_the_figure_of_runs_has_training_dashed_and_validation_solid() -> None:
    figure = draw_curves([log([10.0, 20.0], "first"), log([15.0, 25.0], "second")])
    accuracy, loss = figure.axes
    assert [line.get_label() for line in accuracy.lines] == ["first, validation", "second, validation"]
    assert [(line.get_label(), line.get_linestyle()) for line in loss.lines] == [
        ("first, training", "--"),
        ("second, training", "--"),
    ]
    assert {line.get_linestyle() for line in accuracy.lines} == {"-"}


def test_the_figure_of_runs_has_the_metrics_of_each_and_the_names_of_all() -> None:
    several = RunLog("several", [EpochMetrics(n, loss=0.5, val_loss=0.4, val_map=0.3) for n in (1, 2)])
    (precision, loss) = draw_curves([several]).axes
    assert (precision.get_ylabel(), loss.get_ylabel()) == ("mAP", "loss")
    figure = draw_curves([log([10.0, 20.0], "one"), several])
    assert [axes.get_ylabel() for axes in figure.axes] == ["top-1, %", "mAP", "loss"]
    (legend,) = (axes.get_legend() for axes in figure.axes if axes.get_legend() is not None)
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["one, training", "several, training", "several, validation"]


@pytest.mark.parametrize("name", ["r$\\x$", "_runs/a", b"caf\xe9".decode(errors="surrogateescape")])
def test_names_of_runs_are_text(name: str) -> None:
    runs = [log([10.0, 20.0], name), log([10.0, 20.0], "other")]
    figure = draw_curves(runs)
    figure.savefig(io.BytesIO())
    legend = figure.axes[0].get_legend()
    assert legend is not None
    labels = [label.get_text() for label in legend.get_texts()]
    assert labels == [as_figure_text(f"{name}, validation"), "other, validation"]
    assert curve_chart(runs, "top1").startswith("<svg ")


@pytest.mark.parametrize("name", ['a"b font: c', 'x font-size: 3" onload="alert(1)', "#000001", '<g id="x">'])
def test_the_description_is_not_taken_for_style(name: str) -> None:
    """The fonts and colours that matplotlib writes are replaced in its own elements only."""
    svg = parse(curve_chart([log([0.0, 100.0], name)], "top1"))
    assert svg.attrib["aria-label"] == f"top-1, %, by epoch. {name}, validation: 0 to 100"
    assert set(svg.attrib) == {"viewBox", "role", "aria-label"}


def test_text_in_a_chart_is_not_taken_for_style() -> None:
    with page_figure() as figure:
        figure.text(0.5, 0.5, "font: #000001;")
        svg = parse(inline_svg(figure, "label"))
    (text,) = svg.iter("text")
    assert text.text == "font: #000001;"
    assert "font" not in text.attrib["style"]


def test_bars_are_as_high_as_their_values() -> None:
    svg = parse(bar_strip([0.1, 0.4], title="Attention"))
    low, high = (float(bar.attrib["height"]) for bar in svg.iter("rect"))
    assert high == pytest.approx(4 * low, abs=0.2)
    assert [text.text for text in svg.iter("text")] == ["10 %", "40 %"]
