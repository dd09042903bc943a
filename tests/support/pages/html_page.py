"""The elements of an HTML page."""

from __future__ import annotations

from html.parser import HTMLParser


class HtmlPage(HTMLParser):
    """The addresses that a page loads, its tags, and those without a description.

    A picture with an id is described by the script that shows it.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.unnamed: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.loads += [address for name in ("src", "href", "srcset", "data") if (address := values.get(name))]
        named = {
            "img": values.get("alt") or ("alt" in values and "id" in values),
            "svg": values.get("aria-label"),
            "th": "scope" in values,
        }
        if not named.get(tag, True):
            self.unnamed.append(tag)
