"""The report in a browser: long names of classes and videos stay in their places."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from slowfast.visualization.report import Report, Result, render_report
from tests.support.pages.browser import dump_page, needs_browser
from tests.support.pages.predictions import make_predictions

# Names that reach out of what contains them.
MEASURE = """<script>
const reaches = element => element.scrollWidth > element.clientWidth;
const places = ".matrix th, h1, figcaption, .tall, div[aria-labelledby=calibration]";
const found = [...document.querySelectorAll(places)].filter(reaches);
document.body.dataset.wide = [reaches(document.documentElement), ...found.map(e => e.innerText)];
</script></body>"""


def make_test(name: str) -> Result:
    """Returns the test of 40 videos of classes that are called NAME and their number."""
    labels = np.arange(40) % 20
    predictions = make_predictions(
        np.eye(20)[(labels + labels % 3) % 20],
        labels,
        [f"{name}{k}" for k in range(20)],
        paths=[f"{'v_' * 60}{k}.mp4" for k in range(40)],
    )
    return Result("output/quickstart/vtn/predictions.npz", predictions)


@needs_browser
def test_long_names_stay_in_their_places(tmp_path: Path) -> None:
    report = Report("r_" * 80, "", [make_test("Pulling_two_ends_of_something_so_that_it_gets_stretched_")])
    assert re.findall(r'data-wide="([^"]*)"', measure(report, MEASURE, tmp_path)) == ["false"]


# Words of the columns of the confusion matrix that are broken into several lines.
MEASURE_WORDS = """<script>
const broken = [...document.querySelectorAll(".matrix thead span")].flatMap(span =>
  [...span.firstChild.data.matchAll(/\\S+/g)].filter(word => {
    const range = document.createRange();
    range.setStart(span.firstChild, word.index);
    range.setEnd(span.firstChild, word.index + word[0].length);
    return range.getClientRects().length > 1;
  }).map(word => word[0]));
document.body.dataset.broken = broken;
</script></body>"""


@needs_browser
def test_names_of_the_columns_of_a_matrix_are_not_broken_within_words(tmp_path: Path) -> None:
    report = Report("report", "", [make_test("Approaching something ")])
    assert re.findall(r'data-broken="([^"]*)"', measure(report, MEASURE_WORDS, tmp_path)) == [""]


# The side of the last character of each name: a Hebrew name ends on the left.
MEASURE_ENDS = """<script>
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), ends = [];
for (let node; node = walker.nextNode();) {
  if (!/^[\u05d0-\u05ea].*!$/.test(node.data.trim())) continue;
  const places = [node.data.search(/\\S/), node.data.indexOf("!")].map(k => {
    const range = document.createRange();
    range.setStart(node, k); range.setEnd(node, k + 1);
    return range.getBoundingClientRect().left;
  });
  ends.push(places[1] < places[0] ? "left" : node.parentElement.outerHTML);
}
document.body.dataset.ends = ends;
</script></body>"""


@needs_browser
def test_names_from_right_to_left_end_on_the_left(tmp_path: Path) -> None:
    names = ["\u05d0\u05d1 (\u05d2)!", "\u05d3\u05d4!"]
    predictions = make_predictions(np.eye(2)[[0, 1, 0, 1]], [0, 0, 1, 1], names)
    report = Report("report", "", [Result("test", predictions)])
    (found,) = re.findall(r'data-ends="([^"]*)"', measure(report, MEASURE_ENDS, tmp_path))
    assert set(found.split(",")) == {"left"}
    assert len(found.split(",")) > 6


def measure(report: Report, script: str, folder: Path) -> str:
    """Returns the elements of a report in a browser, after a script."""
    file = folder / "report.html"
    file.write_text(render_report(report).replace("</body>", script), encoding="utf-8")
    return dump_page(file.as_uri(), folder / "profile", "--window-size=800,900")
