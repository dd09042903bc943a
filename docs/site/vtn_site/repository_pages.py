"""The pages of the site that are files of the repository, and their links.

The text of a guide is written once, in the repository. A link in such a file is relative to the file; on the
site it leads to the page that was made of its target. A link to a file that is missing, or that the site does
not have, ends the build.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).resolve().parents[3]

PAGE_OF_FILE: Mapping[str, str] = MappingProxyType(
    {
        "README.md": "index.md",
        "MODEL_ZOO.md": "model-zoo.md",
        "PERFORMANCE.md": "performance.md",
        "CONTRIBUTING.md": "contributing.md",
        "CHANGELOG.md": "changelog.md",
        "docs/ARCHITECTURE.md": "architecture.md",
        "docs/BACKBONES.md": "backbones.md",
        "docs/DEPLOYMENT.md": "deployment.md",
        "docs/EXPERIMENTS.md": "experiments.md",
        "docs/EXTENDING.md": "extending.md",
        "docs/FEW_VIDEOS.md": "few-videos.md",
        "docs/TRANSFORMERS.md": "with-transformers.md",
        "projects/vtn/README.md": "paper.md",
        "slowfast/distributed/README.md": "distributed-runs.md",
    }
)
"""File of the repository -> page of the site. GETTING_STARTED.md has several pages, see ``guides``."""

SITE_PAGES = "docs/site/pages/"
IMAGES = (".png", ".svg")
_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:)([^)\s#]*)(#[^)\s]*)?(?=\))")
_FENCE = re.compile(r"^ *(```|~~~)")


class LinkError(ValueError):
    """A link in a file of the repository that leads nowhere on the site."""


def page_of(target: str, anchor: str, guide_of_anchor: Mapping[str, str]) -> str:
    """Returns the page (with its anchor) of a file of the repository.

    Args:
        target: path of the file from the root of the repository.
        anchor: ``#`` and a heading of the file, or empty.
        guide_of_anchor: anchor in GETTING_STARTED.md -> page; ``""`` -> the first page.

    Raises:
        LinkError: for a file or heading that the site does not have.
    """
    if target == "GETTING_STARTED.md":
        if anchor not in guide_of_anchor:
            raise LinkError(f"{target}{anchor}: is not a heading; known are {', '.join(guide_of_anchor)}")
        return guide_of_anchor[anchor]
    if target in PAGE_OF_FILE:
        return PAGE_OF_FILE[target] + anchor
    if target.startswith(SITE_PAGES) and (ROOT / target).is_file():
        return target.removeprefix(SITE_PAGES) + anchor
    if target.endswith(IMAGES) and (ROOT / target).is_file():
        return f"images/{posixpath.basename(target)}"
    raise LinkError(f"{target}: is not a page of the site; add it to PAGE_OF_FILE, or write its path as code")


def move_links(text: str, *, source: str, page: str, guide_of_anchor: Mapping[str, str]) -> str:
    """Returns the text of a file with its links as they are on the site; code is left as it is.

    Args:
        text: Markdown, the file or a part of it.
        source: path of the file from the root of the repository.
        page: page of the site that the text becomes.
        guide_of_anchor: see :func:`page_of`.

    Raises:
        LinkError: for a link that leads nowhere.
    """

    def moved(match: re.Match[str]) -> str:
        path, anchor = match[1], match[2] or ""
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path)) if path else source
        try:
            found = page_of(target, anchor, guide_of_anchor)
        except LinkError as error:
            raise LinkError(f"{source}: {error}") from None
        target_page, _, target_anchor = found.partition("#")
        relative = posixpath.relpath(target_page, posixpath.dirname(page) or ".")
        return relative + (f"#{target_anchor}" if target_anchor else "")

    return outside_code(text, lambda line: _LINK.sub(moved, line))


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """Returns the text with all lines changed that do not stand in a fenced block of code."""
    lines, in_code = [], False
    for line in text.splitlines(keepends=True):
        is_fence = _FENCE.match(line) is not None
        in_code ^= is_fence
        lines.append(line if in_code or is_fence else change(line))
    return "".join(lines)
