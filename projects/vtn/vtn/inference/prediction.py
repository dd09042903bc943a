"""The scores of a video as text, JSON and CSV.

W windows, K classes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from slowfast.datasets.class_names import class_text
from slowfast.errors import InputError, counted
from slowfast.files import write_text
from slowfast.progress import format_duration
from slowfast.visualization.text_table import align_columns
from vtn.inference.features import VideoFeatures
from vtn.inference.windows import Timeline

TOP = 5
"""Number of best classes that are shown where the caller gives no other number."""


@dataclass(frozen=True)
class Score:
    """The score of one class.

    Attributes:
        label: name of the class.
        index: number of the class, from 0.
        score: after the score activation; with softmax the scores of all classes sum to 1.
    """

    label: str
    index: int
    score: float

    @property
    def text(self) -> str:
        """The name of the class for people to read, see :func:`slowfast.datasets.class_names.class_text`."""
        return class_text(self.label, self.index)


@dataclass(frozen=True)
class ScoredViews:
    """The views of a video that are scored.

    Attributes:
        clips: number of clips whose scores are merged; 1 for the full video.
        crops: number of crops of each frame whose scores are merged.
        is_middle: whether the only crop is the middle one of several that the test merges.
    """

    clips: int = 1
    crops: int = 1
    is_middle: bool = False

    @property
    def text(self) -> str:
        """The views in words; empty for one clip or the full video in the only crop of the test.

        >>> ScoredViews(10, 3).text, ScoredViews(crops=3).text, ScoredViews(is_middle=True).text
        ('10 clips × 3 crops', '3 crops', 'the middle crop')
        """
        if self.is_middle:
            return "the middle crop"
        counts = ((self.clips, "clips"), (self.crops, "crops"))
        return " × ".join(f"{count} {name}" for count, name in counts if count > 1)

    def to_dict(self) -> dict[str, Any]:
        """Returns the entries of a prediction that describe the views; none where ``text`` is empty."""
        if self.is_middle:
            return {"crop": "middle"}
        return {"merged": {"clips": self.clips, "crops": self.crops}} if self.text else {}


@dataclass(frozen=True, eq=False)
class Prediction:
    """Scores of one video.

    Attributes:
        video: path or address of the video.
        seconds: duration of the video.
        num_frames: number of frames that were scored, in all clips.
        num_undecodable: number of selected frames that could not be decoded.
        class_names: K names.
        scores: (K,) float32, of the whole video; NaN for a video that could not be predicted.
        timeline: scores over time; None: not computed.
        error: the reason why the video has no scores, in one line; empty: it has scores.
        views: the clips and crops that ``scores`` are merged from. ``timeline`` is of the middle crop.
        reason: category of the error for programs, see ``vtn.predictor.texts.failure_reason``.

    >>> prediction = Prediction("a.mp4", 1.5, 12, ["left", "right"], np.array([0.25, 0.75], np.float32))
    >>> prediction
    <Prediction of a.mp4: right 0.750, left 0.250>
    >>> prediction.top(1)
    [Score(label='right', index=1, score=0.75)]
    >>> prediction.to_dict()["top"][0]
    {'class': 'right', 'score': 0.75}
    >>> Prediction.failed("b.mp4", ["left", "right"], "not a video").to_dict()
    {'video': 'b.mp4', 'error': 'not a video', 'reason': ''}
    """

    video: str
    seconds: float
    num_frames: int
    class_names: Sequence[str]
    scores: np.ndarray
    timeline: Timeline | None = None
    num_undecodable: int = 0
    error: str = ""
    views: ScoredViews = ScoredViews()
    reason: str = ""

    @classmethod
    def of_features(
        cls,
        features: VideoFeatures,
        video: str,
        class_names: Sequence[str],
        scores: np.ndarray,
        *,
        timeline: Timeline | None = None,
        views: ScoredViews = ScoredViews(),
    ) -> Prediction:
        """Returns the prediction of a video whose frames have these features; arguments as attributes."""
        decoded = features.num_decoded
        lost = len(features.features) - decoded
        return cls(video, features.duration, decoded, class_names, scores, timeline, lost, views=views)

    @classmethod
    def failed(cls, video: str, class_names: Sequence[str], error: str, reason: str = "") -> Prediction:
        """Returns the prediction of a video without scores.

        Args:
            error: the problem, for people.
            reason: its category, for programs.
        """
        nothing = np.full(len(class_names), np.nan, np.float32)
        return cls(video, 0.0, 0, class_names, nothing, error=" ".join(error.split()), reason=reason)

    def __repr__(self) -> str:
        """Returns one line: hundreds of names and scores would hide the result in a notebook."""
        return f"<Prediction of {self.describe_in_a_line(3)}>"

    def top(self, count: int = TOP) -> list[Score]:
        """Returns the ``count`` classes with the highest scores, the best first; [] without scores.

        Raises:
            InputError: where ``count`` is negative.
        """
        return self._best(self.scores, count)

    def describe(self, top: int = TOP) -> str:
        """Returns the ``top`` classes of the whole video, and the best class over time, as text."""
        if self.error:
            return f"{self.video}: {self.error}"
        undecodable = f", {self.num_undecodable} could not be decoded" if self.num_undecodable else ""
        duration = format_duration(self.seconds)
        views = f" in {self.views.text}" if self.views.text else ""
        scored = f"{counted(self.num_frames, 'frame')} scored{views}{undecodable}"
        lines = [f"{self.video}: {duration}, {scored}"]
        ranked = enumerate(self.top(top), start=1)
        cells = [(f"{rank:4}. {best.text}", f"{best.score:.3f}") for rank, best in ranked]
        lines += align_columns(cells, left=(0,))
        if self.timeline is not None:
            spans = self._describe_timeline()
            merged = (
                f" ({len(self.timeline.starts)} windows, those in a row with the same best class together)"
            )
            lines += [f"over time{merged if len(spans) < len(self.timeline.starts) else ''}:", *spans]
        return "\n".join(lines)

    def describe_in_a_line(self, top: int = TOP) -> str:
        """Returns the video with its ``top`` classes, or with the error, as one line.

        A single scored frame is stated, since the file may be an image by mistake.
        """
        found = ", ".join(f"{best.text} {best.score:.3f}" for best in self.top(top))
        if self.num_frames == 1:
            found += " (1 frame)"
        return f"{self.video}: {self.error or found}"

    def to_dict(self, top: int = TOP) -> dict[str, Any]:
        """Returns all scores, and the ``top`` classes by name, as plain values for JSON.

        Scores are in the order of ``class_names``. Windows without scores have None and []. A video that
        could not be predicted has ``video``, ``error`` and ``reason`` alone.
        """
        if self.error:
            return {"video": self.video, "error": self.error, "reason": self.reason}
        content: dict[str, Any] = {
            "video": self.video,
            "seconds": round(self.seconds, 6),
            "frames": self.num_frames,
            "undecodable_frames": self.num_undecodable,
            **self.views.to_dict(),
            "top": self._named(self.scores, top),
            "scores": self.scores.tolist(),
        }
        if self.timeline is not None:
            content["windows"] = [
                {
                    "start": round(float(start), 6),
                    "end": round(float(end), 6),
                    "top": self._named(scores, top),
                    "scores": scores.tolist() if _is_scored(scores) else None,
                }
                for start, end, scores in self._windows()
            ]
        return content

    def to_json(self, top: int = TOP) -> str:
        """Returns the text of a file of one video as ``vtn predict --json`` writes it, without settings."""
        content = {"classes": list(self.class_names), "videos": [self.to_dict(top)]}
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    def rows(self) -> Iterator[list[str]]:
        """Yields the rows of :func:`csv_header`: of the whole video, then of its windows."""
        if self.error:
            yield [self.video, "", "", self.error, *("" for _ in self.class_names)]
            return
        for start, end, scores in ((0.0, self.seconds, self.scores), *self._windows()):
            yield [self.video, f"{start:.3f}", f"{end:.3f}", "", *(f"{score:.6g}" for score in scores)]

    def to_csv(self) -> str:
        """Returns the text of a file of one video as ``vtn predict --csv`` writes it."""
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows([csv_header(self.class_names), *self.rows()])
        return table.getvalue()

    def write(self, path: str | Path, top: int = TOP) -> None:
        """Writes ``.json`` or ``.csv``, depending on the suffix, atomically."""
        write_text(path, self.to_csv() if Path(path).suffix == ".csv" else self.to_json(top))

    def _best(self, scores: np.ndarray, count: int) -> list[Score]:
        if count < 0:
            raise InputError(f"a number of best classes = {count}: must be 0 or more")
        if not _is_scored(scores):
            return []
        order = np.argsort(-scores, kind="stable")[:count]
        return [Score(self.class_names[k], int(k), float(scores[k])) for k in order]

    def _named(self, scores: np.ndarray, top: int) -> list[dict[str, Any]]:
        return [{"class": best.label, "score": best.score} for best in self._best(scores, top)]

    def _windows(self) -> list[tuple[float, float, np.ndarray]]:
        if self.timeline is None:
            return []
        return list(zip(self.timeline.starts, self.timeline.ends, self.timeline.scores, strict=True))

    def _describe_timeline(self) -> list[str]:
        """Returns one line per run of windows with the same best class, with the mean score of that class."""
        windows_in_order = self._windows()
        tenths = any(start % 1 or end - start < 1 for start, end, _ in windows_in_order)
        rows = []
        for best, run in groupby(windows_in_order, key=lambda window: _best_class(window[2])):
            windows = list(run)
            text = "no frame could be decoded"
            if best is not None:
                score = float(np.mean([scores[best] for _, _, scores in windows]))
                text = f"{class_text(self.class_names[best], best)}  {score:.3f}"
            first, last = (format_duration(t, tenths=tenths) for t in (windows[0][0], windows[-1][1]))
            rows.append((f"{first} to {last}", text))
        return [f"  {line}" for line in align_columns(rows, left=(1,))]


def csv_header(class_names: Sequence[str]) -> list[str]:
    """Returns the names of the columns of a table of predictions: start and end in seconds, K scores."""
    return ["video", "start", "end", "error", *class_names]


def _best_class(scores: np.ndarray) -> int | None:
    return int(scores.argmax()) if _is_scored(scores) else None


def _is_scored(scores: np.ndarray) -> bool:
    """Returns whether a window has scores, which need at least one decoded frame."""
    return not np.isnan(scores).any()
