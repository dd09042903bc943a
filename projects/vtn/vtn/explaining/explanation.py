"""The explanation of one prediction as data.

L layers, N heads, T frames, W windows, G prefixes, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slowfast.datasets.class_names import class_text
from vtn.explaining.attribution import Occlusion
from vtn.explaining.faithfulness import Faithfulness
from vtn.explaining.pictures import Pictures
from vtn.explaining.regions.build import Regions
from vtn.inference.prediction import Prediction


@dataclass(frozen=True, eq=False)
class Attention:
    """The attention of [CLS] to the frames.

    Attributes:
        layers: (L, N, T) float32; per layer and head they sum to 1 together with that of [CLS] itself.
        rollout: (T,) float32, rolled out over the layers; it sums to 1 together with that of [CLS] itself.
    """

    layers: NDArray[np.float32]
    rollout: NDArray[np.float32]

    @property
    def last(self) -> NDArray[np.float32]:
        """(T,) of the last layer, the mean over its heads."""
        return self.layers[-1].mean(axis=0)


@dataclass(frozen=True, eq=False)
class GrowingScores:
    """Scores of the video up to a time, as if it ended there.

    Attributes:
        rows: (G,) int64, ascending, the last frame of each prefix; the last one is that of the video.
        scores: (G, K) float32.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MergedCrops:
    """The prediction of a video whose scores are merged from several crops.

    Attributes:
        num_crops: two or more.
        scores: (K,) float32.
    """

    num_crops: int
    scores: NDArray[np.float32]

    def describe(self, class_names: Sequence[str], label: int) -> str:
        """Returns how the prediction relates to the explanation of a class in the middle crop."""
        best = int(self.scores.argmax())
        found = f"{class_text(class_names[best], best)} {self.scores[best]:.3f}"
        if label != best:
            found += f", {class_text(class_names[label], label)} {self.scores[label]:.3f}"
        return (
            f"The prediction of the video merges {self.num_crops} crops: {found}. All scores of this "
            "explanation are of the middle crop alone."
        )


@dataclass(frozen=True, eq=False)
class Explanation:
    """A prediction, and what it depends on.

    Attributes:
        prediction: scores of the whole video, and of its windows, in the middle crop.
        label: the explained class, 0 … K − 1.
        seconds: (T,) float64, the time of each frame.
        numbers: (T,) int64, of the frames in the video, from 0.
        decoded: (T,) bool.
        growing: scores of prefixes of the video.
        occlusion: the effect of masking frames.
        gradient: (T,) float32, gradient times features.
        attention: of [CLS]; None for models without it.
        faithfulness: ranking -> its curves; ``random`` is there, too.
        top: rows of the frames that matter most by occlusion, the first one most.
        regions: of these frames, in this order.
        pictures: of frames for the page.
        merged: the prediction where it merges several crops; None: it is that of the middle crop.
        video: the video as a ``data:`` address; empty: the page has pictures only.
        notes: remarks on the model that a reader needs.
    """

    prediction: Prediction
    label: int
    seconds: NDArray[np.float64]
    numbers: NDArray[np.int64]
    decoded: NDArray[np.bool_]
    growing: GrowingScores
    occlusion: Occlusion
    gradient: NDArray[np.float32]
    attention: Attention | None
    faithfulness: Mapping[str, Faithfulness]
    top: NDArray[np.int64]
    regions: Regions
    pictures: Pictures
    merged: MergedCrops | None = None
    video: str = ""
    notes: Sequence[str] = ()

    def __repr__(self) -> str:
        """Returns one line, without the encoded video."""
        return f"<Explanation of {self.prediction.video}: {self.class_text}, {len(self.seconds)} frames>"

    @property
    def class_name(self) -> str:
        """Name of the explained class."""
        return str(self.prediction.class_names[self.label])

    @property
    def class_text(self) -> str:
        """Name of the explained class for people to read: a number alone is preceded by "class"."""
        return class_text(self.class_name, self.label)

    def describe(self) -> str:
        """Returns the explained class, the frames that matter most, and the faithfulness, as text."""
        name, score = self.class_text, self.prediction.scores[self.label]
        lines = [f"{self.prediction.video}: {name} {score:.3f}, {len(self.seconds)} frames"]
        for row in self.top.tolist():
            lines.append(
                f"  frame {self.numbers[row]} at {self.seconds[row]:.2f} s: without it {name} "
                f"{score - self.occlusion.score[row]:.3f}"
            )
        lines.append("area under the score of the class [deletion, insertion]:")
        for ranking, found in self.faithfulness.items():
            lines.append(f"  {ranking:<11}{found.deletion.area:7.3f}{found.insertion.area:7.3f}")
        return "\n".join([*lines, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Returns all values as plain values for JSON; pictures and maps of regions are left out."""
        content = self.prediction.to_dict()
        content["classes"] = list(self.prediction.class_names)
        content["explained_class"] = self.class_name
        content["explained_class_index"] = self.label
        content["notes"] = list(self.notes)
        content["frame_seconds"] = self.seconds.tolist()
        content["frame_numbers"] = self.numbers.tolist()
        content["decoded"] = self.decoded.tolist()
        content["up_to"] = [
            {"seconds": float(self.seconds[row]), "scores": scores.tolist()}
            for row, scores in zip(self.growing.rows, self.growing.scores, strict=True)
        ]
        content["occlusion"] = {
            "log_odds_fall": self.occlusion.evidence.tolist(),
            "score_fall": self.occlusion.score.tolist(),
            "frames_masked_together": self.occlusion.span,
        }
        content["gradient_times_input"] = self.gradient.tolist()
        if self.attention is not None:
            content["attention"] = {
                "layers": self.attention.layers.tolist(),
                "rollout": self.attention.rollout.tolist(),
            }
        content["top_frames"] = self.numbers[self.top].tolist()
        content["faithfulness"] = {name: _curves(found) for name, found in self.faithfulness.items()}
        return content

    def write(self, path: str | Path) -> list[Path]:
        """Writes the page, and beside it a ``.json`` with the values and a ``.png`` with the curves.

        Returns:
            The paths of the files.
        """
        from vtn.explaining.page.write import write_explanation

        return write_explanation(path, self)


def rankings(
    occlusion: Occlusion, gradient: NDArray[np.float32], attention: Attention | None
) -> dict[str, NDArray[np.float32]]:
    """Returns name of each ranking -> (T,) float32, the values by which it orders the frames."""
    found = {"occlusion": occlusion.evidence, "gradient": gradient}
    if attention is not None:
        found |= {"attention": attention.last, "roll-out": attention.rollout}
    return found


def _curves(found: Faithfulness) -> dict[str, Any]:
    return {
        name: {"area": curve.area, "fractions": curve.fractions.tolist(), "scores": curve.scores.tolist()}
        for name, curve in (("deletion", found.deletion), ("insertion", found.insertion))
    }
