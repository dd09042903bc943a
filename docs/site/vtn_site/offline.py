"""The check that a built page loads nothing from a network."""

from __future__ import annotations

import re

_LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video)\b[^>]*\bsrc=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preload|preconnect|icon|manifest)\b)[^>]*"""
    r"""\bhref=["']?((?:https?:)?//[^"'\s>]+)""",
    re.IGNORECASE,
)


def loaded_addresses(html: str) -> list[str]:
    """Returns the addresses in a network from which a page loads scripts, styles, images or fonts.

    >>> loaded_addresses('<link rel="stylesheet" href="https://a.org/b.css"><a href="https://c.org">c</a>')
    ['https://a.org/b.css']
    """
    return [match[1] or match[2] for match in _LOADED.finditer(html)]
