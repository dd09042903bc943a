"""Drawings are well-formed SVG that says in words what it shows."""

from xml.etree import ElementTree

import pytest

from slowfast.visualization.charts import Line, bar_strip, line_chart, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 6, [0, 2, 4, 6]),
        (0, 0.03, [0, 0.01, 0.02, 0.03]),
        (3, 3, [3]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_a_curve_rises_from_left_to_right() -> None:
    lines = [Line("a <run>", [(0, 0), (1, 50), (2, 100)])]
    chart = line_chart(lines, title="Accuracy", x_label="epochs", y_label="%", y_range=(0, 100))
    svg = ElementTree.fromstring(chart)
    assert "a <run>: 0 to 100" in svg.attrib["aria-label"]
    points = svg.find("polyline").attrib["points"]  # type: ignore[union-attr]
    (x0, y0), (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in points.split())
    assert x0 < x1 < x2
    assert y0 > y1 > y2, "up is smaller in SVG"
    assert y1 == pytest.approx((y0 + y2) / 2, abs=0.1)


def test_a_chart_without_points_is_drawn() -> None:
    ElementTree.fromstring(line_chart([Line("none", [])], title="Loss", x_label="epochs", y_label="loss"))


def test_bars_are_as_high_as_their_values() -> None:
    svg = ElementTree.fromstring(bar_strip([0.1, 0.4], title="Attention"))
    low, high = (float(bar.attrib["height"]) for bar in svg.iter("rect"))
    assert high == pytest.approx(4 * low, abs=0.2)
    assert [text.text for text in svg.iter("text")] == ["10 %", "40 %"]
