"""Texts of the pages have the contrast that WCAG 2.2 AA asks for, on light and on dark pages."""

from __future__ import annotations

import re
from importlib import resources

import pytest

HEAD, REPORT = "slowfast.visualization/head.html", "slowfast.visualization/report.html"


def luminance(color: tuple[float, ...]) -> float:
    """Returns the relative luminance of a colour of three values from 0 to 255, as WCAG defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """Returns the ratio of contrast, from 1 to 21."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def read_page(name: str) -> str:
    """Returns the text of a page, by its package and file."""
    package, file = name.split("/")
    return resources.files(package).joinpath(file).read_text(encoding="utf-8")


def palettes(page: str) -> list[dict[str, tuple[float, ...]]]:
    """Returns the colours of the light and the dark palette by name; short forms are written out."""
    found = re.findall(r":root \{(.*?)\}", page, re.DOTALL)
    assert len(found) == 2
    return [
        {
            name: tuple(int(text[k : k + 2], 16) for k in (0, 2, 4))
            for name, digits in re.findall(r"--(\w+): #(\w+);", palette)
            for text in [digits if len(digits) == 6 else "".join(2 * digit for digit in digits)]
        }
        for palette in found
    ]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_texts_and_links_are_legible(scheme: int) -> None:
    palette = palettes(read_page(HEAD))[scheme]
    for text in ("ink", "soft", "c0", "bad"):
        for ground in ("page", "card"):
            assert contrast(palette[text], palette[ground]) >= 4.5, (text, ground)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_numbers_in_the_fullest_cells_of_the_confusion_matrix_are_legible(scheme: int) -> None:
    palette = palettes(read_page(HEAD))[scheme]
    heats = re.findall(r"--heat: (\d+), (\d+), (\d+);", read_page(HEAD))
    strengths = re.findall(r"--strength: ([\d.]+);", read_page(REPORT))
    strength = float(strengths[scheme])
    cell = tuple(
        strength * float(heat) + (1 - strength) * card
        for heat, card in zip(heats[scheme], palette["card"], strict=True)
    )
    assert contrast(palette["ink"], cell) >= 4.5


@pytest.mark.parametrize("name", [HEAD, REPORT])
def test_dark_colors_are_not_printed(name: str) -> None:
    dark = re.findall(r"@media (.*)\(prefers-color-scheme: dark\)", read_page(name))
    assert dark == ["screen and "]
