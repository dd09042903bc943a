"""What a model says of a video, for people and for programs.

W windows, K classes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from slowfast.files import write_text
from slowfast.progress import format_duration
from vtn.inference.windows import Timeline


@dataclass(frozen=True)
class Prediction:
    """Scores of one video.

    Attributes:
        video: its path.
        seconds: its length.
        num_frames: frames that the model saw.
        num_undecodable: frames that it would have seen if they could be decoded.
        class_names: K names.
        scores: (K,) of the whole video.
        timeline: scores over time, where they were asked for.
    """

    video: str
    seconds: float
    num_frames: int
    class_names: Sequence[str]
    scores: np.ndarray
    timeline: Timeline | None = None
    num_undecodable: int = 0

    def describe(self, top: int) -> str:
        """The ``top`` classes of the whole video and the best one over time, as text."""
        width = max(map(len, self.class_names))
        lost = f", {self.num_undecodable} could not be decoded" if self.num_undecodable else ""
        lines = [f"{self.video}: {format_duration(self.seconds)}, {self.num_frames} frames seen{lost}"]
        for rank, (name, score) in enumerate(self._best(self.scores, top), start=1):
            lines.append(f"{rank:4}. {name:<{width}}  {score:.3f}")
        if self.timeline is not None:
            lines += ["over time:", *self._stretches(self.timeline)]
        return "\n".join(lines)

    def to_json(self, top: int) -> str:
        """All scores, and the ``top`` classes by name; null and none where no frame could be decoded."""
        content: dict[str, Any] = {
            "video": self.video,
            "seconds": self.seconds,
            "frames": self.num_frames,
            "undecodable_frames": self.num_undecodable,
            "classes": list(self.class_names),
            "top": self._named(self.scores, top),
            "scores": self.scores.tolist(),
        }
        if self.timeline is not None:
            content["windows"] = [
                {
                    "start": float(start),
                    "end": float(end),
                    "top": self._named(scores, top) if _is_scored(scores) else [],
                    "scores": scores.tolist() if _is_scored(scores) else None,
                }
                for start, end, scores in self._windows(self.timeline)
            ]
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    def to_csv(self) -> str:
        """A line for the whole video, then one a window: start and end in seconds, a column a class."""
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["start", "end", *self.class_names])
        whole = (0.0, self.seconds, self.scores)
        for start, end, scores in [whole, *(self._windows(self.timeline) if self.timeline else ())]:
            writer.writerow([f"{start:.3f}", f"{end:.3f}", *(f"{score:.6g}" for score in scores)])
        return table.getvalue()

    def write(self, path: str | Path, top: int) -> None:
        """Writes ``.json`` or ``.csv``, as the suffix says, atomically."""
        write_text(path, self.to_csv() if Path(path).suffix == ".csv" else self.to_json(top))

    def _best(self, scores: np.ndarray, top: int) -> list[tuple[str, float]]:
        return [(self.class_names[k], float(scores[k])) for k in np.argsort(-scores, kind="stable")[:top]]

    def _named(self, scores: np.ndarray, top: int) -> list[dict[str, Any]]:
        return [{"class": name, "score": score} for name, score in self._best(scores, top)]

    def _windows(self, timeline: Timeline) -> list[tuple[float, float, np.ndarray]]:
        return list(zip(timeline.starts, timeline.ends, timeline.scores, strict=True))

    def _stretches(self, timeline: Timeline) -> list[str]:
        """One line for each run of windows with the same best class, with the mean of its score."""
        lines = []
        for best, run in groupby(self._windows(timeline), key=lambda window: _best_class(window[2])):
            windows = list(run)
            what = "no frame could be decoded"
            if best is not None:
                score = float(np.mean([scores[best] for _, _, scores in windows]))
                what = f"{self.class_names[best]}  {score:.3f}"
            span = f"{format_duration(windows[0][0])} to {format_duration(windows[-1][1])}"
            lines.append(f"{span:>20}  {what}")
        return lines


def _best_class(scores: np.ndarray) -> int | None:
    return int(scores.argmax()) if _is_scored(scores) else None


def _is_scored(scores: np.ndarray) -> bool:
    """Whether any frame of a window could be decoded."""
    return not np.isnan(scores).any()
