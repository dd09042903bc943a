"""The page needs no other file, shows the values of the explanation, and works in a browser."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from slowfast.errors import InputError
from slowfast.tracking.figure_text import as_figure_text
from tests.support.pages.browser import dump_page, needs_browser
from tests.support.pages.html_page import HtmlPage
from tests.support.videos import write_video
from vtn import Predictor
from vtn.explaining.explanation import Explanation, MergedCrops
from vtn.explaining.page.content import page_content
from vtn.explaining.page.figure import draw_explanation
from vtn.explaining.page.write import render_page
from vtn.explaining.pictures import MAX_PICTURES, chosen_rows, playable_video
from vtn.explaining.video import ExplanationRequest


@pytest.fixture(scope="module")
def explanation(published: Path, videos: Path) -> Explanation:
    return Predictor(published, device="cpu").explain(videos / "13.mp4")


def test_a_video_for_the_page_is_opened_without_references_to_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[dict[str, str]] = []
    original = av.open

    def note(source: Any, **options: Any) -> Any:
        opened.append(options["options"])
        return original(source, **options)

    monkeypatch.setattr(av, "open", note)
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n")
    assert playable_video(tmp_path / "list.mp4") == ""
    assert opened
    assert all("hls" not in options["format_whitelist"].split(",") for options in opened)


def test_the_explanation_is_of_the_prediction(
    explanation: Explanation, published: Path, videos: Path
) -> None:
    prediction = Predictor(published, device="cpu")(videos / "13.mp4")
    np.testing.assert_allclose(explanation.prediction.scores, prediction.scores, atol=1e-6)
    assert explanation.label == prediction.scores.argmax()
    assert explanation.prediction.num_frames == prediction.num_frames == len(explanation.seconds)
    np.testing.assert_allclose(explanation.growing.scores[-1], prediction.scores, atol=1e-6)
    assert explanation.growing.rows[-1] == len(explanation.seconds) - 1
    # The frames that matter most come first, and all of them speak for the class.
    values = explanation.occlusion.evidence
    assert (values[explanation.top] > 0).all()
    assert explanation.top.tolist() == sorted(explanation.top, key=lambda t: -values[t])
    assert list(explanation.regions.maps) == ["backbone attention"]
    assert explanation.regions.maps["backbone attention"].shape[0] == len(explanation.top)
    assert set(explanation.top) <= set(explanation.pictures.jpegs)


def test_another_class_and_other_windows_can_be_chosen(published: Path, videos: Path) -> None:
    predictor = Predictor(published, device="cpu")
    request = ExplanationRequest(label="still", window_seconds=0.5, stride_seconds=0.25, regions=False)
    found = predictor.explain(videos / "13.mp4", request=request)
    assert found.class_name == "still"
    timeline = predictor(videos / "13.mp4", window_seconds=0.5, stride_seconds=0.25).timeline
    assert found.prediction.timeline is not None
    assert timeline is not None
    assert found.prediction.timeline.starts.tolist() == timeline.starts.tolist()
    assert found.regions.maps == {}
    with pytest.raises(InputError, match=r"class 'jump': must be a name of a class \(left, right, still\)"):
        predictor.explain(videos / "missing.mp4", request=ExplanationRequest(label="jump"))  # not opened
    with pytest.raises(InputError, match="top_frames = -1: must be 0 or more"):
        predictor.explain(videos / "13.mp4", request=ExplanationRequest(top_frames=-1))


def test_classes_without_names_are_called_classes_in_texts_alone(explanation: Explanation) -> None:
    numbers = replace(explanation.prediction, class_names=["0", "1", "2"])
    merged = MergedCrops(3, explanation.prediction.scores)
    unnamed = replace(explanation, prediction=numbers, notes=[merged.describe(numbers.class_names, 0)])
    shown = f"class {unnamed.label}"
    page = render_page(unnamed)
    assert f"<h1>Why <em>{shown}</em>?</h1>" in page
    assert f"predicts <strong>{shown}</strong> with a score" in page
    assert f"merges 3 crops: {shown} " in page
    assert page_content(unnamed)["classes"][0] == shown
    assert f": {shown} " in unnamed.describe().splitlines()[0]
    assert draw_explanation(unnamed).get_suptitle().startswith(f"{shown}, score")
    assert unnamed.to_dict()["explained_class"] == str(unnamed.label)
    assert unnamed.to_dict()["classes"] == ["0", "1", "2"]


def test_names_of_classes_are_text_in_the_figure(explanation: Explanation, tmp_path: Path) -> None:
    """Matplotlib would read formulas between dollars, and leave labels with a leading underscore out."""
    names = ["$\\frac$", "_b", b"caf\xe9".decode(errors="surrogateescape")]
    named = replace(explanation, prediction=replace(explanation.prediction, class_names=names))
    figure = draw_explanation(named)
    figure.savefig(tmp_path / "figure.png")
    legend = next(
        axes.get_legend() for axes in figure.axes if axes.get_title(loc="left").startswith("scores")
    )
    assert legend is not None
    labels = {label.get_text() for label in legend.get_texts()}
    assert labels == {as_figure_text(name) for name in names}


@pytest.mark.parametrize("length", [3, 20, 60, 120])
def test_the_legend_of_the_figure_covers_no_title(explanation: Explanation, length: int) -> None:
    names = [f"{k} {'Moving something across a surface ' * 4}"[:length] for k in range(5)]
    scores = np.array([0.5, 0.2, 0.1, 0.1, 0.1], np.float32)
    growing = replace(explanation.growing, scores=np.tile(scores, (len(explanation.growing.rows), 1)))
    prediction = replace(explanation.prediction, class_names=names, scores=scores)
    figure = draw_explanation(replace(explanation, prediction=prediction, growing=growing, label=0))
    figure.canvas.draw()
    axes = next(one for one in figure.axes if one.get_title(loc="left").startswith("scores"))
    legend = axes.get_legend()
    assert legend is not None
    assert {label.get_text()[0] for label in legend.get_texts()} == set("01234")
    box = legend.get_window_extent()
    assert figure.bbox.x0 <= box.x0
    assert box.x1 <= figure.bbox.x1
    assert not box.overlaps(axes._left_title.get_window_extent())  # type: ignore[attr-defined]
    assert axes.get_xticklabels()[1].get_text().endswith(" s")


def test_clips_are_not_one_sequence(published: Path, videos: Path) -> None:
    predictor = Predictor(published, device="cpu", views=(2, 1))
    with pytest.raises(InputError, match="views: must be None for explanations"):
        predictor.explain(videos / "13.mp4")


def test_the_page_loads_no_other_file(explanation: Explanation) -> None:
    page = render_page(explanation)
    parsed = HtmlPage(page)
    assert parsed.loads
    assert all(address.startswith("data:") for address in parsed.loads)
    script = page.replace("http://www.w3.org/2000/svg", "")  # the name of a kind of element
    assert not re.search(r"https?://|@import|url\(|fetch\(", script)
    assert parsed.unnamed == []
    assert parsed.tags.count("table") == parsed.tags.count("caption")
    assert 'src="data:video/mp4;base64,' in page


def test_the_page_has_the_values(explanation: Explanation) -> None:
    page = render_page(explanation)
    text = re.search(r'<script type="application/json" id="content">(.*?)</script>', page, re.DOTALL)
    assert text is not None
    content = json.loads(text[1])
    assert content == json.loads(json.dumps(page_content(explanation), ensure_ascii=False))
    np.testing.assert_allclose(content["occlusion"], explanation.occlusion.evidence, atol=1e-5)
    assert explanation.attention is not None
    np.testing.assert_allclose(content["attention"]["layers"], explanation.attention.layers, atol=1e-5)
    assert content["classes"][content["explained"]] == explanation.class_name
    for curves in explanation.faithfulness.values():
        assert f"{curves.deletion.area:.3f}" in page


def test_names_cannot_leave_their_place(explanation: Explanation) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    names = [evil, "right & left", "still"]
    prediction = replace(explanation.prediction, class_names=names, video=f"/videos/{evil}")
    page = render_page(replace(explanation, prediction=prediction, label=0))
    assert "<img src=x" not in page
    assert page.count("</script>") == 2


def test_values_and_figure_stand_beside_the_page(explanation: Explanation, tmp_path: Path) -> None:
    paths = explanation.write(tmp_path / "page.html")
    assert [path.name for path in paths] == ["page.html", "page.json", "page.png"]
    values = json.loads(paths[1].read_text(encoding="utf-8"))
    assert values["explained_class"] == explanation.class_name
    assert values["scores"] == explanation.prediction.scores.tolist()
    assert values["occlusion"]["score_fall"] == explanation.occlusion.score.tolist()
    assert set(values["faithfulness"]) == {"occlusion", "gradient", "attention", "roll-out", "random"}
    assert values["top_frames"] == explanation.numbers[explanation.top].tolist()
    assert min(Image.open(paths[2]).size) > 500
    with pytest.raises(InputError, match=r"page.htm: must end in \.html"):
        explanation.write(tmp_path / "page.htm")


def test_pictures_of_long_videos_are_chosen() -> None:
    rows = chosen_rows(10_000, np.array([1234, 7]))
    assert {0, 7, 1234, 9999} <= set(rows.tolist())
    assert len(rows) == MAX_PICTURES + 2
    assert chosen_rows(5, np.array([2])).tolist() == [0, 1, 2, 3, 4]


def test_videos_for_browsers_are_part_of_the_page(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert playable_video(videos / "13.mp4").startswith("data:video/mp4;base64,")
    av1 = write_video(tmp_path / "av1.mp4", 5, codec="libsvtav1", preset="13")
    assert playable_video(av1).startswith("data:video/mp4;base64,")
    assert playable_video(videos / "broken.mp4") == playable_video(tmp_path / "missing.mp4") == ""
    monkeypatch.setattr("vtn.explaining.pictures.MAX_VIDEO_BYTES", 100)
    assert playable_video(videos / "13.mp4") == ""


def draw(explanation: Explanation, folder: Path, *options: str, script: str = "") -> str:
    """Returns the page of an explanation as a browser has drawn it, after a script at its end."""
    path = folder / "page.html"
    page = render_page(explanation).replace("</body>", f"<script>{script}</script></body>")
    path.write_text(page, encoding="utf-8")
    return dump_page(path.as_uri(), folder / "profile", *options)


@needs_browser
def test_a_browser_draws_the_page(explanation: Explanation, tmp_path: Path) -> None:
    drawn = draw(replace(explanation, video=""), tmp_path)
    frames = len(explanation.seconds)
    assert drawn.count('<button type="button" data-row=') == frames
    assert drawn.count('role="slider"') == 4
    assert len(re.findall(r'<button[^>]*aria-current="true"', drawn)) == 1
    assert drawn.count('<figure><button type="button" aria-label="Show frame') == len(explanation.top)
    # One line per class, and one per ranking in each of the two plots of faithfulness; three others.
    assert drawn.count('class="line') == 3 + 2 * 5 + 3
    assert f"Frame {explanation.numbers[explanation.top[0]]} at" in drawn


# The event waits for the images; a promise of theirs may be fulfilled after the browser has printed the page.
MEASURE = """
for (const image of document.images) image.loading = "eager";
addEventListener("load", () => {
  const part = document.querySelector('[aria-current="true"]').getBoundingClientRect();
  const whole = document.getElementById("strip").getBoundingClientRect();
  document.body.dataset.current = part.left >= whole.left - 1 && part.right <= whole.right + 1;
  document.body.dataset.wide = document.documentElement.scrollWidth > innerWidth;
});
"""


@needs_browser
def test_the_strip_shows_the_current_frame(explanation: Explanation, tmp_path: Path) -> None:
    last = replace(explanation, video="", top=np.array([len(explanation.seconds) - 1]))
    dump = draw(last, tmp_path, "--window-size=500,900", script=MEASURE)
    assert re.findall(r'data-current="(\w+)"', dump) == ["true"]


@needs_browser
def test_the_player_shows_the_scored_frame_where_others_are_left_out(
    explanation: Explanation, tmp_path: Path
) -> None:
    seconds = explanation.seconds * 5  # every fifth frame
    fifth = replace(explanation, seconds=seconds, top=np.array([1]))
    show = "document.body.dataset.shown = document.getElementById('video').currentTime"
    (shown,) = re.findall(r'data-shown="([\d.]+)"', draw(fifth, tmp_path, script=show))
    assert seconds[1] < float(shown) < seconds[1] + explanation.seconds[1]


@needs_browser
def test_long_names_of_classes_stay_on_a_narrow_page(explanation: Explanation, tmp_path: Path) -> None:
    prediction = replace(explanation.prediction, class_names=[f"{'pulling_' * 12}{k}" for k in range(3)])
    named = replace(explanation, video="", prediction=prediction)
    dump = draw(named, tmp_path, "--window-size=500,900", script=MEASURE)
    assert re.findall(r'data-wide="(\w+)"', dump) == ["false"]


@needs_browser
@pytest.mark.parametrize(
    ("duration", "first", "times", "ticks"),
    [
        (600.0, "0:00.0", r"\d:\d\d\.\d", ["0:00", "2:00", "4:00", "6:00", "8:00", "10:00"]),
        (10800.0, "0:00:00.0", r"\d:\d\d:\d\d\.\d", ["0:00:00", "0:30:00", "1:00:00", "1:30:00"]),
    ],
)
def test_times_of_a_long_video_are_hours_minutes_and_seconds(
    explanation: Explanation, tmp_path: Path, duration: float, first: str, times: str, ticks: list[str]
) -> None:
    seconds = explanation.seconds / explanation.prediction.seconds * duration
    longer = replace(explanation.prediction, seconds=duration)
    long = replace(explanation, video="", prediction=longer, seconds=seconds)
    dump = draw(long, tmp_path, "--window-size=1200,900")
    found = re.findall(r'aria-label="Frame \d+ at ([^"]*)"', dump)
    assert found[0] == first
    assert all(re.fullmatch(times, text) for text in found)
    assert re.findall(r"<text[^>]*>(\d+:[\d:]+)</text>", dump)[: len(ticks)] == ticks


def test_the_page_says_without_its_script_where_the_values_are(explanation: Explanation) -> None:
    found = re.search(r"<noscript>(.*?)</noscript>", render_page(explanation), re.DOTALL)
    assert found is not None
    assert ".json" in found[1]
