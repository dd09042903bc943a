"""GETTING_STARTED.md as pages of the site: one per section and subsection."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from vtn_site.repository_pages import ROOT, move_links, outside_code

SOURCE = "GETTING_STARTED.md"
_NUMBER = re.compile(r"^\d+\. ")
_SECTION_LINK = re.compile(r"\[section (\d+)\]\([^)]*\)|\bsection (\d+)\b")


@dataclass(frozen=True)
class Guide:
    """A section of GETTING_STARTED.md.

    Args:
        title: heading without its number.
        anchor: of the heading in the file, with ``#``; empty for the introduction.
        page: page of the site.
        text: Markdown below the heading, as in the file.
    """

    title: str
    anchor: str
    page: str
    text: str


def read_guides() -> tuple[Guide, ...]:
    """Returns the introduction and all sections in their order."""
    guides = []
    for heading, text in _sections((ROOT / SOURCE).read_text(encoding="utf-8")):
        marks, _, written = heading.partition(" ")
        title = _NUMBER.sub("", written)
        if marks == "#":
            guides.append(Guide(title, "", "guides/index.md", text))
        else:
            guides.append(Guide(title, f"#{slug(written)}", f"guides/{slug(title)}.md", text))
    return tuple(guides)


def guide_of_anchor(guides: tuple[Guide, ...]) -> Mapping[str, str]:
    """Returns anchor in GETTING_STARTED.md -> page; ``""`` -> the introduction."""
    return {guide.anchor: guide.page for guide in guides}


def guide_pages(guides: tuple[Guide, ...]) -> dict[str, str]:
    """Returns page -> Markdown; "section 7" becomes a link, since pages have no numbers."""
    anchors = guide_of_anchor(guides)
    numbers = {anchor[1:].partition("-")[0]: anchor for anchor in anchors if anchor[1:2].isdigit()}
    titles = {guide.anchor: guide.title for guide in guides}

    def named(match: re.Match[str]) -> str:
        anchor = numbers[match[1] or match[2]]
        return f"[{titles[anchor]}]({anchor})"

    pages = {}
    for guide in guides:
        text = outside_code(guide.text, lambda line: _SECTION_LINK.sub(named, line))
        text = move_links(text, source=SOURCE, page=guide.page, guide_of_anchor=anchors)
        pages[guide.page] = f"# {guide.title}\n{text}"
    return pages


def guide_navigation(guides: tuple[Guide, ...]) -> list[str | dict[str, str]]:
    """Returns the entries of the navigation, sections and subsections in one row."""
    first, *others = guides
    return [first.page, *({guide.title: guide.page} for guide in others)]


def slug(heading: str) -> str:
    """Returns the anchor that a heading has on the site and on web pages of repositories.

    >>> slug("12. Share a model: `vtn publish`")
    '12-share-a-model-vtn-publish'
    """
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def _sections(text: str) -> list[tuple[str, str]]:
    """Returns (heading line, text below it) of all headings outside of code."""
    mark = "\0"
    marked = outside_code(text, lambda line: mark + line if re.match(r"#{1,3} ", line) else line)
    return [
        (part.partition("\n")[0].strip(), part.partition("\n")[2])
        for part in marked.split(mark)
        if part.strip()
    ]
