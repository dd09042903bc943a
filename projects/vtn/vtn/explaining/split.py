"""Faithfulness over the videos of a split: mean areas under deletion and insertion curves, with intervals.

V videos.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from slowfast.errors import DataError
from slowfast.files import write_text
from slowfast.metrics.intervals import Interval, mean_interval
from slowfast.visualization.text_table import align_columns
from vtn.explaining.explain import measure_influence
from vtn.explaining.faithfulness import RANDOM
from vtn.explaining.frame_scorer import FrameScorer
from vtn.frame_model import FrameModel
from vtn.inference.features import VideoFeatures


@dataclass(frozen=True)
class FaithfulnessRow:
    """The areas of one video.

    Attributes:
        video: its name.
        label: the predicted class, which is explained.
        score: of this class.
        deletion, insertion: ranking -> area under the curve.
        error: the reason why the video was not measured; empty: it was measured.
    """

    video: str
    label: int = -1
    score: float = 0.0
    deletion: Mapping[str, float] = field(default_factory=dict)
    insertion: Mapping[str, float] = field(default_factory=dict)
    error: str = ""


def choose_videos(paths: Sequence[str], limit: int | None) -> list[str]:
    """Returns at most ``limit`` of the paths, a random choice in their order; None: all of them."""
    if limit is None or limit >= len(paths):
        return list(paths)
    chosen = np.sort(np.random.default_rng(0).choice(len(paths), limit, replace=False))
    return [paths[int(video)] for video in chosen]


def measure_row(model: FrameModel, features: VideoFeatures, *, name: str, head_act: str) -> FaithfulnessRow:
    """Measures one video, for the predicted class.

    Raises:
        InputError: for a video of one frame.
    """
    scorer = FrameScorer.of_video(model, features, head_act=head_act)
    scores = scorer.scores(scorer.decoded[None])[0]
    label = int(scores.argmax())
    found = measure_influence(scorer, label).faithfulness
    return FaithfulnessRow(
        name,
        label,
        float(scores[label]),
        {ranking: curves.deletion.area for ranking, curves in found.items()},
        {ranking: curves.insertion.area for ranking, curves in found.items()},
    )


@dataclass(frozen=True)
class RankingSummary:
    """One ranking over all videos.

    Attributes:
        name: of the ranking.
        deletion, insertion: mean area with its 95 % interval over videos; unknown for one video.
        better: fraction of the videos whose insertion area minus deletion area is above that of random
            orders; NaN for the random orders themselves.
    """

    name: str
    deletion: Interval
    insertion: Interval
    better: float


def summarize_rankings(rows: Sequence[FaithfulnessRow]) -> list[RankingSummary]:
    """Returns a summary per ranking, in the order of the rows' rankings.

    Raises:
        DataError: where no video was measured.
    """
    measured = [row for row in rows if not row.error]
    if not measured:
        raise DataError("no video could be measured; the reasons are listed above")
    videos = [str(number) for number in range(len(measured))]

    def areas(kind: str, name: str) -> np.ndarray:
        return np.array([getattr(row, kind)[name] for row in measured])

    def margin(name: str) -> np.ndarray:
        return areas("insertion", name) - areas("deletion", name)

    return [
        RankingSummary(
            name,
            mean_interval(areas("deletion", name), videos),
            mean_interval(areas("insertion", name), videos),
            float("nan") if name == RANDOM else float((margin(name) > margin(RANDOM)).mean()),
        )
        for name in measured[0].deletion
    ]


def describe_summaries(summaries: Sequence[RankingSummary], num_videos: int) -> str:
    """Returns a table as text."""
    title = f"{num_videos} videos; mean area under the curve of the predicted class's score [95 % interval]"
    rows = [("frames ordered by", "deletion (low: good)", "insertion (high: good)", "beats random")]
    for row in summaries:
        better = "" if np.isnan(row.better) else f"{100 * row.better:.0f} %"
        rows.append((row.name, row.deletion.text(), row.insertion.text(), better))
    return "\n".join([title, *align_columns(rows, left=(0,))])


def write_summary(
    path: str | Path,
    rows: Sequence[FaithfulnessRow],
    summaries: Sequence[RankingSummary],
    class_names: Sequence[str],
) -> None:
    """Writes the summary, and the areas of each video, as JSON, atomically."""
    content = {
        "num_videos": sum(not row.error for row in rows),
        "num_failed": sum(bool(row.error) for row in rows),
        "rankings": {
            row.name: {
                "deletion_area": row.deletion.to_dict(),
                "insertion_area": row.insertion.to_dict(),
                "better_than_random": None if np.isnan(row.better) else row.better,
            }
            for row in summaries
        },
        "per_video": [_row_dict(row, class_names) for row in rows],
    }
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _row_dict(row: FaithfulnessRow, class_names: Sequence[str]) -> dict[str, Any]:
    if row.error:
        return {"video": row.video, "error": row.error}
    return {
        "video": row.video,
        "class": class_names[row.label],
        "score": row.score,
        "deletion_area": dict(row.deletion),
        "insertion_area": dict(row.insertion),
    }
