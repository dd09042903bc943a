"""The values of an explanation as the script of the page reads them.

L layers, N heads, T frames, G prefixes, W windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from slowfast.datasets.class_names import class_text
from vtn.explaining.pictures import data_uri
from vtn.explaining.regions.build import DESCRIPTIONS

if TYPE_CHECKING:
    from vtn.explaining.explanation import Explanation

SHOWN_CLASSES = 5


def page_content(found: Explanation) -> dict[str, Any]:
    """Returns plain values for JSON; the arrays are rounded, since the page only draws them."""
    classes, prediction = shown_classes(found), found.prediction
    return {
        "classes": [class_text(prediction.class_names[k], k) for k in classes],
        "explained": classes.index(found.label),
        "scores": _rounded(prediction.scores[classes]),
        "duration": prediction.seconds,
        "seconds": _rounded(found.seconds, 4),
        "numbers": found.numbers.tolist(),
        "decoded": found.decoded.tolist(),
        "windows": _windows(found, classes),
        "growing": {
            "rows": found.growing.rows.tolist(),
            "scores": _columns(found.growing.scores[:, classes]),
        },
        "occlusion": _rounded(found.occlusion.evidence),
        "occlusion_score": _rounded(found.occlusion.score),
        "gradient": _rounded(found.gradient),
        "attention": _attention(found),
        "faithfulness": {
            name: {
                "deletion": _curve(curves.deletion.fractions, curves.deletion.scores),
                "insertion": _curve(curves.insertion.fractions, curves.insertion.scores),
            }
            for name, curves in found.faithfulness.items()
        },
        "top": found.top.tolist(),
        "regions": [
            {"name": name, "text": DESCRIPTIONS[name], "maps": [_rounded(values) for values in maps]}
            for name, maps in found.regions.maps.items()
        ],
        "crop": asdict(found.pictures.crop),
        "picture": [found.pictures.width, found.pictures.height],
        "pictures": {row: data_uri(jpeg, "image/jpeg") for row, jpeg in found.pictures.jpegs.items()},
    }


def shown_classes(explanation: Explanation) -> list[int]:
    """Returns the classes with the highest scores, the explained one among them, the best first."""
    best = [best.index for best in explanation.prediction.top(SHOWN_CLASSES)]
    return best if explanation.label in best else [*best[:-1], explanation.label]


def _windows(explanation: Explanation, classes: Sequence[int]) -> dict[str, Any]:
    """Returns the windows with a decoded frame."""
    timeline = explanation.prediction.timeline
    assert timeline is not None
    scored = ~np.isnan(timeline.scores).any(axis=1)
    middle = (timeline.starts + timeline.ends) / 2
    return {
        "seconds": _rounded(middle[scored], 4),
        "length": float(timeline.ends[0] - timeline.starts[0]),
        "scores": _columns(timeline.scores[scored][:, list(classes)]),
    }


def _attention(explanation: Explanation) -> dict[str, Any] | None:
    attention = explanation.attention
    if attention is None:
        return None
    return {
        "layers": [[_rounded(head) for head in layer] for layer in attention.layers],
        "last": _rounded(attention.last),
        "rollout": _rounded(attention.rollout),
    }


def _curve(fractions: NDArray[np.floating], scores: NDArray[np.floating]) -> dict[str, Any]:
    return {"x": _rounded(fractions, 4), "y": _rounded(scores)}


def _columns(scores: NDArray[np.floating]) -> list[list[float]]:
    """Returns one list per class of scores (…, classes)."""
    return [_rounded(column) for column in scores.T]


def _rounded(values: Iterable[Any] | NDArray[np.floating], digits: int = 5) -> Any:
    return np.round(np.asarray(values, np.float64), digits).tolist()
