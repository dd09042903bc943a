"""The report in a browser: long names of classes and videos stay in their places."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from slowfast.engine.prediction_file import Predictions
from slowfast.visualization.report import Report, Result, render_report
from slowfast.visualization.sections.mistakes import top_confusions

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
# Names that reach out of what contains them.
MEASURE = """<script>
const reaches = element => element.scrollWidth > element.clientWidth;
const places = ".matrix th, h1, figcaption, .tall";
const found = [...document.querySelectorAll(places)].filter(reaches);
document.body.dataset.wide = [reaches(document.documentElement), ...found.map(e => e.innerText)];
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_long_names_stay_in_their_places(tmp_path: Path) -> None:
    num_classes, num_videos = 20, 40
    names = [f"Pulling_two_ends_of_something_so_that_it_gets_stretched_{k}" for k in range(num_classes)]
    labels = np.arange(num_videos) % num_classes
    predictions = Predictions(
        video_ids=np.arange(num_videos),
        paths=[f"{'v_' * 60}{k}.mp4" for k in range(num_videos)],
        labels=labels,
        scores=np.eye(num_classes, dtype=np.float32)[(labels + labels % 3) % num_classes],
        num_views=np.ones(num_videos, dtype=np.int64),
        class_names=names,
        broken=(),
        meta={},
    )
    report = Report("r_" * 80, "", [Result("test", predictions)], confusions=top_confusions(predictions))
    file = tmp_path / "report.html"
    file.write_text(render_report(report).replace("</body>", MEASURE))
    assert BROWSER is not None
    dump = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=800,900", "--dump-dom", file.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    assert re.findall(r'data-wide="([^"]*)"', dump) == ["false"]
