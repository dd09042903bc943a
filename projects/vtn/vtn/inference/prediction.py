"""The scores of a video as text, JSON and CSV.

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
        video: path of the video.
        seconds: duration of the video.
        num_frames: number of frames that were scored.
        num_undecodable: number of selected frames that could not be decoded.
        class_names: K names.
        scores: (K,) float32, of the whole video.
        timeline: scores over time; None: not computed.
    """

    video: str
    seconds: float
    num_frames: int
    class_names: Sequence[str]
    scores: np.ndarray
    timeline: Timeline | None = None
    num_undecodable: int = 0

    def describe(self, top: int) -> str:
        """Returns the ``top`` classes of the whole video, and the best class over time, as text."""
        width = max(map(len, self.class_names))
        undecodable = f", {self.num_undecodable} could not be decoded" if self.num_undecodable else ""
        duration = format_duration(self.seconds)
        lines = [f"{self.video}: {duration}, {self.num_frames} frames scored{undecodable}"]
        for rank, (name, score) in enumerate(self._top_classes(self.scores, top), start=1):
            lines.append(f"{rank:4}. {name:<{width}}  {score:.3f}")
        if self.timeline is not None:
            lines += ["over time:", *self._describe_timeline(self.timeline)]
        return "\n".join(lines)

    def to_json(self, top: int) -> str:
        """Returns all scores, and the ``top`` classes by name; null and [] for windows without scores."""
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
        """Returns a line for the whole video and one per window: start and end in seconds, K scores."""
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["start", "end", *self.class_names])
        whole = (0.0, self.seconds, self.scores)
        for start, end, scores in [whole, *(self._windows(self.timeline) if self.timeline else ())]:
            writer.writerow([f"{start:.3f}", f"{end:.3f}", *(f"{score:.6g}" for score in scores)])
        return table.getvalue()

    def write(self, path: str | Path, top: int) -> None:
        """Writes ``.json`` or ``.csv``, depending on the suffix, atomically."""
        write_text(path, self.to_csv() if Path(path).suffix == ".csv" else self.to_json(top))

    def _top_classes(self, scores: np.ndarray, top: int) -> list[tuple[str, float]]:
        return [(self.class_names[k], float(scores[k])) for k in np.argsort(-scores, kind="stable")[:top]]

    def _named(self, scores: np.ndarray, top: int) -> list[dict[str, Any]]:
        return [{"class": name, "score": score} for name, score in self._top_classes(scores, top)]

    def _windows(self, timeline: Timeline) -> list[tuple[float, float, np.ndarray]]:
        return list(zip(timeline.starts, timeline.ends, timeline.scores, strict=True))

    def _describe_timeline(self, timeline: Timeline) -> list[str]:
        """Returns one line per run of windows with the same best class, with the mean score of that class."""
        lines = []
        for best, run in groupby(self._windows(timeline), key=lambda window: _best_class(window[2])):
            windows = list(run)
            text = "no frame could be decoded"
            if best is not None:
                score = float(np.mean([scores[best] for _, _, scores in windows]))
                text = f"{self.class_names[best]}  {score:.3f}"
            span = f"{format_duration(windows[0][0])} to {format_duration(windows[-1][1])}"
            lines.append(f"{span:>20}  {text}")
        return lines


def _best_class(scores: np.ndarray) -> int | None:
    return int(scores.argmax()) if _is_scored(scores) else None


def _is_scored(scores: np.ndarray) -> bool:
    """Returns whether a window has scores, which need at least one decoded frame."""
    return not np.isnan(scores).any()
