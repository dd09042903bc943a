"""Names of users in figures: each is drawn as it is written, whatever matplotlib would read into it."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure

from slowfast.tracking.figure_text import as_figure_text, figure_fonts
from slowfast.tracking.tensorboard import draw_confusion

LATIN_1 = b"caf\xe9.mp4".decode(errors="surrogateescape")
NAMES = ["US$ \\frac$", "$\\x$", "_hidden", LATIN_1, "a $ b", "\\$5 to $6", "plain_name"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_text_in_titles_and_legends(name: str) -> None:
    figure = Figure()
    figure.suptitle(as_figure_text(name))
    axes = figure.subplots()
    axes.plot([0, 1], label=as_figure_text(name))
    (label,) = axes.legend().get_texts()
    figure.savefig(io.BytesIO())
    drawn, is_formula = label._preprocess_math(label.get_text())
    assert drawn.removeprefix(" ") == name.replace("\udce9", "\ufffd")
    assert not is_formula


def test_a_confusion_matrix_has_the_names_of_the_classes() -> None:
    figure = draw_confusion(np.eye(len(NAMES)), NAMES)
    figure.savefig(io.BytesIO())
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == [as_figure_text(name) for name in NAMES]


def test_characters_without_a_font_are_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    names = ["\ue000\ue001", "\ue001b"]  # of private use: no font has them
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            with figure_fonts():
                draw_confusion(np.eye(2), names).savefig(io.BytesIO())
    assert [record.getMessage()[:35] for record in caplog.records] == [
        "the figure has boxes in place of \ue000\ue001"
    ]


def test_other_warnings_of_a_figure_are_shown() -> None:
    with pytest.warns(UserWarning, match="another"), figure_fonts():
        warnings.warn("another", stacklevel=1)


def test_installed_fonts_have_the_characters_that_the_first_one_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("slowfast.tracking.figure_text._FONTS", ("missing font", "DejaVu Serif"))
    with figure_fonts():
        assert Figure().suptitle("a").get_family() == ["sans-serif", "DejaVu Serif"]
    assert Figure().suptitle("a").get_family() == ["sans-serif"]
