"""The files of an explanation: a page that needs no other file, a table of values, a figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2.utils import htmlsafe_json_dumps

from slowfast.errors import InputError
from slowfast.files import atomic_write, read_json_object, write_text
from slowfast.progress import format_duration
from slowfast.tracking.figure_text import figure_fonts
from slowfast.visualization.page import fill_template
from vtn.explaining.faithfulness import RANDOM
from vtn.explaining.page.content import page_content
from vtn.explaining.page.figure import draw_explanation

if TYPE_CHECKING:
    from vtn.explaining.explanation import Explanation


def write_explanation(path: str | Path, explanation: Explanation) -> list[Path]:
    """Writes the page to ``path``, and a ``.json`` and a ``.png`` beside it; returns the three paths.

    Raises:
        InputError: for a path that does not end in ``.html``.
    """
    page = check_page_path(path)
    values, figure = page.with_suffix(".json"), page.with_suffix(".png")
    write_text(page, render_page(explanation))
    write_text(values, json.dumps(explanation.to_dict(), indent=1, ensure_ascii=False) + "\n")
    with atomic_write(figure) as temporary, figure_fonts():
        draw_explanation(explanation).savefig(temporary, format="png", dpi=110)
    return [page, values, figure]


def check_page_path(path: str | Path) -> Path:
    """Returns the path of a page.

    Raises:
        InputError: for a path that does not end in ``.html``, and for one beside which a file of another kind
            would be replaced by the values or curves.
    """
    page = Path(path)
    if page.suffix != ".html":
        raise InputError(f"{page}: must end in .html; the files of values and curves stand beside it")
    values = page.with_suffix(".json")
    if "explained_class" not in read_json_object(values):
        for other in (values, page.with_suffix(".png")):
            if other.exists():
                raise InputError(
                    f"{other}: would be replaced by a file of the explanation, but is not of an earlier one; "
                    "choose another name for the page, or move that file"
                )
    return page


def render_page(explanation: Explanation) -> str:
    """Returns the page as HTML without references to other files."""
    prediction, seconds = explanation.prediction, explanation.prediction.seconds
    return fill_template(
        "vtn.explaining.page",
        "page.html",
        explanation=explanation,
        name=Path(prediction.video).name or prediction.video,
        subject="In the middle crop, the model" if explanation.merged else "The model",
        predicted=prediction.top(1)[0],
        score=float(prediction.scores[explanation.label]),
        duration=f"{seconds:.2f} s" if seconds < 60 else format_duration(seconds),
        rankings=[
            (name, curves.deletion.area, curves.insertion.area)
            for name, curves in explanation.faithfulness.items()
        ],
        best_deletion=min(curves.deletion.area for curves in explanation.faithfulness.values()),
        best_insertion=max(curves.insertion.area for curves in explanation.faithfulness.values()),
        random=RANDOM,
        content=htmlsafe_json_dumps(page_content(explanation), separators=(",", ":")),
    )
