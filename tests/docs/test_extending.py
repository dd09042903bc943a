"""docs/EXTENDING.md: each Python file of the page is written, and its command is run."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from slowfast.cli.run import main
from slowfast.registry import import_project_modules, projects
from tests.support.processes import run_forked
from vtn.predictor.source import load_source
from vtn.publishing.publish import publish

PAGE = (Path(__file__).parents[2] / "docs" / "EXTENDING.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n# (\w+\.py)\n(.*?)```\n.*?```bash\n(.*?)```", PAGE, re.DOTALL)
# The page's commands on videos of the tests: 32 pixels, three classes, 16 frames.
SMALL = ["MODEL.NUM_CLASSES", "3", "TRAIN.MAX_STEPS", "2", "TRAIN.BATCH_SIZE", "4", "TEST.BATCH_SIZE", "4"]
SMALL += ["NUM_GPUS", "0", "DATA_LOADER.NUM_WORKERS", "0", "DATA.CLASS_NAMES", ""]


def test_the_page_shows_one_of_each() -> None:
    files = [file for file, _, _ in EXAMPLES]
    assert files == [
        "my_backbone.py", "my_clips.py", "my_model.py", "my_gru.py", "my_data.py", "my_schedule.py",
        "my_loss.py",
    ]  # fmt: skip
    assert all(len(code.strip().splitlines()) <= 14 for _, code, _ in EXAMPLES)


@pytest.mark.parametrize(("file", "code", "command"), EXAMPLES, ids=[file for file, _, _ in EXAMPLES])
def test_an_example_trains_and_tests(
    file: str, code: str, command: str, colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).write_text(code)
    program, subcommand, *arguments = shlex.split(command.replace("\\\n", " "))
    assert (program, subcommand) == ("slowfast", "run")
    arguments = [str(colour_videos) if a == "output/quickstart/data" else a for a in arguments]
    assert run_forked(main, [*arguments, *SMALL]) == 0
    (log,) = tmp_path.glob("output/*/stdout.log")
    assert "top-1" in log.read_text().splitlines()[-1]


def test_the_project_trains_and_its_published_model_keeps_its_argument(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file, code in re.findall(r"```python\n# (gated/\w+\.py)\n(.*?)```", PAGE, re.DOTALL):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(code)
    installed = tmp_path / "gated-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: gated\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[slowfast.projects]\ngated = gated.project:PROJECT\n")
    assert run_forked(_train_and_publish, str(colour_videos)) == 0


def _train_and_publish(videos: str) -> int:
    sys.path.insert(0, str(Path.cwd()))
    projects.cache_clear()
    import_project_modules.cache_clear()
    keys = ["DATA.PATH_TO_DATA_DIR", videos, "OUTPUT_DIR", "out", "MODEL.MODEL_NAME", "Gated", *SMALL]
    assert main(["--cfg", "QUICKSTART", *keys, "GATED.WIDTH", "0"]) == 2
    assert main(["--cfg", "QUICKSTART", *keys, "GATED.WIDTH", "24"]) == 0
    (checkpoint, *_) = Path("out/checkpoints").glob("*.pyth")
    publish(checkpoint, "published", name="G")
    assert load_source("published/G").arguments.width == 24
    return 0
