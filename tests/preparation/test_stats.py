"""Plots of ``slowfast prepare stats``."""

from __future__ import annotations

from pathlib import Path

import pytest

from slowfast.cli.prepare import main
from tests.support.videos import write_video


def test_names_are_escaped_in_a_page(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    name = "<img src=x onerror=alert(1)>&.mp4"
    write_video(tmp_path / "v" / name, 10, ticks=[0, 40, 80, 500, 540, 1200, 1240, 1280, 2000, 2040])
    assert main(["stats", str(tmp_path / "v"), "--plots", str(tmp_path / "p.html")]) == 0
    page = (tmp_path / "p.html").read_text()
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;&amp;.mp4" in page


@pytest.mark.parametrize("name", ["p.pdf", "p"])
def test_other_formats_of_plots_are_refused_before_the_work(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "v").mkdir()
    write_video(tmp_path / "v/a.mp4", 5)
    with pytest.raises(SystemExit, match="2"):
        main(["stats", str(tmp_path / "v"), "--plots", str(tmp_path / name)])
    assert f"{name}: must end in .png or .html" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["v"]
