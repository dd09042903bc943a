"""docs/EXTENDING.md: each Python file of the page is written, and its command is run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from slowfast.cli.run import main
from tests.support.processes import run_forked

PAGE = (Path(__file__).parents[2] / "docs" / "EXTENDING.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n# (\w+\.py)\n(.*?)```\n.*?```bash\n(.*?)```", PAGE, re.DOTALL)
# The page's commands on videos of the tests: 32 pixels, three classes, 16 frames.
SMALL = ["MODEL.NUM_CLASSES", "3", "TRAIN.MAX_STEPS", "2", "TRAIN.BATCH_SIZE", "4", "TEST.BATCH_SIZE", "4"]
SMALL += ["NUM_GPUS", "0", "DATA_LOADER.NUM_WORKERS", "0", "DATA.CLASS_NAMES", ""]


def test_the_page_shows_one_of_each() -> None:
    files = [file for file, _, _ in EXAMPLES]
    assert files == [
        "my_backbone.py", "my_clips.py", "my_model.py", "my_data.py", "my_schedule.py", "my_loss.py",
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
