"""The explanation step of the quickstart, on a tiny model instead of the trained one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from slowfast.engine.prediction_file import Predictions, save_predictions
from slowfast.errors import CheckpointError
from tests.support.tiny import tiny_config
from tests.support.tiny_models import CLASS_NAMES, SMALL_VTN, trained_checkpoint
from tests.support.videos import write_video
from vtn.quickstart.explained import explain_quickstart, faithfulness_table, read_faithfulness
from vtn.quickstart.runs import EXPLANATION, PREDICTIONS, PRODUCTS


def test_a_page_and_a_table_are_made(tmp_path: Path) -> None:
    videos = [write_video(tmp_path / f"{number}.mp4", 8 + number, fps=10) for number in range(3)]
    cfg = tiny_config(tmp_path, tmp_path / "vtn", *SMALL_VTN, "TRAIN.ENABLE", False, "DATA.TARGET_FPS", 10)
    predictions = Predictions(
        video_ids=np.arange(3),
        paths=[str(path) for path in videos],
        labels=np.array([0, 1, 2]),
        scores=np.eye(3, dtype=np.float32)[[1, 1, 1]],
        num_views=np.ones(3, np.int64),
        class_names=list(CLASS_NAMES),
        broken=(),
        meta={},
    )
    save_predictions(tmp_path / "vtn" / PREDICTIONS, predictions)
    with pytest.raises(CheckpointError, match="has no checkpoint; start over with --fresh"):
        explain_quickstart(tmp_path)
    trained_checkpoint(cfg, tmp_path / "vtn")
    explain_quickstart(tmp_path)
    # The page is about the first video that is predicted correctly.
    values = json.loads((tmp_path / EXPLANATION).with_suffix(".json").read_text(encoding="utf-8"))
    assert values["video"] == str(videos[1])
    written = {path.name for path in tmp_path.iterdir()} - {path.name for path in videos}
    assert written <= {*PRODUCTS}
    content = read_faithfulness(tmp_path)
    assert content["videos"] == 3
    table = faithfulness_table(content)
    assert [row[0] for row in table.rows] == list(content["rankings"])
    assert len({len(row) for row in (table.header, *table.rows)}) == 1
    assert "over 3 test videos" in table.caption
