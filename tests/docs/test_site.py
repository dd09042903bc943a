"""The documentation site: it is built without warnings, is complete, and agrees with the sources."""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.config.defaults import MkDocsConfig

import slowfast.errors
import vtn
import vtn_site.docstrings
import vtn_site.guides
import vtn_site.offline
from slowfast.config import get_default_config
from tests.support.pages.browser import dump_page, needs_browser
from vtn_site.config_keys import MODULES, read_keys
from vtn_site.recipes import FOLDER, leading_comment
from vtn_site.repository_pages import LinkError, move_links

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs" / "site"
TROUBLESHOOTING = (SITE / "pages" / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = re.findall(r"^### `(.+)`$", TROUBLESHOOTING, re.MULTILINE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of the built site; a warning, such as a dead link or anchor, is an error."""
    folder = tmp_path_factory.mktemp("site")
    build(_config(folder))
    return folder


def _config(folder: Path) -> MkDocsConfig:
    return load_config(str(SITE / "mkdocs.yml"), site_dir=str(folder), strict=True)


def test_every_page_is_in_the_navigation(site: Path) -> None:
    start = (site / "index.html").read_text(encoding="utf-8")
    pages = {str(path.relative_to(site)) for path in site.rglob("*.html")} - {"404.html"}
    linked = set(re.findall(r'<a href="([^"#:]+\.html)"', start))
    # A tab leads to its first page, from which the others of the tab are reached.
    for tab in list(linked):
        text = (site / tab).read_text(encoding="utf-8")
        links = re.findall(r'<a href="([^"#:]+\.html)" class="md-nav__link"', text)
        linked |= {str(((site / tab).parent / link).resolve().relative_to(site)) for link in links}
    assert pages - linked == set()


def test_no_page_loads_anything_from_a_network(site: Path) -> None:
    pages = {path.name: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    assert {
        name: found for name, text in pages.items() if (found := vtn_site.offline.loaded_addresses(text))
    } == {}
    styles = " ".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", styles) == []


@needs_browser
def test_the_search_works_in_pages_that_are_opened_as_files(site: Path, tmp_path: Path) -> None:
    page = dump_page(f"{(site / 'index.html').as_uri()}?q=window", tmp_path, milliseconds=60_000)
    assert re.search(r"md-search-result__meta\">\d+ matching documents", page)


def test_every_section_of_the_guide_is_a_page(site: Path) -> None:
    guide = (ROOT / "GETTING_STARTED.md").read_text(encoding="utf-8")
    titles = re.findall(
        r"^##+ (?:\d+\. )?(.+)$", re.sub(r"```.*?```", "", guide, flags=re.DOTALL), re.MULTILINE
    )
    pages = [path.read_text(encoding="utf-8") for path in (site / "guides").glob("*.html")]
    assert len(titles) > 12
    for title in titles:
        assert sum(f'>{title}<a class="headerlink"' in page.replace("</code>", "") for page in pages) == 1, (
            title
        )


def test_every_public_name_is_documented(site: Path) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (site / "api").glob("*.html"))
    assert [name for name in vtn.__all__ if f'id="vtn.{name}"' not in text] == []


def test_inherited_members_that_a_page_asks_for_are_on_it(site: Path) -> None:
    """A method of another package, whose sources are not read, would be left out without a warning."""
    asked = [
        (page.stem, f"{name}.{member}")
        for page in (SITE / "pages" / "api").glob("*.md")
        for name, members in re.findall(
            r"^::: (\S+)\n +options: {inherited_members: \[(.+)\]}", page.read_text("utf-8"), re.MULTILINE
        )
        for member in members.split(", ")
    ]
    texts = {path.stem: path.read_text(encoding="utf-8") for path in (site / "api").glob("*.html")}
    assert len(asked) > 6
    assert [name for page, name in asked if f'id="{name}"' not in texts[page]] == []


def test_errors_that_a_function_raises_are_links(site: Path) -> None:
    """Also where the module of the function does not import the error by itself."""
    text = "".join(path.read_text(encoding="utf-8") for path in (site / "api").glob("*.html"))
    assert 'href="errors.html#slowfast.errors.ModelError"' in text
    unlinked = set(re.findall(r"<code>([A-Z]\w+Error)</code>", text))
    assert unlinked & set(vars(slowfast.errors)) == set()


def test_every_configuration_key_is_listed_with_its_default() -> None:
    listed = {key.name: key.default for module in MODULES for key in read_keys(module) if not key.is_section}
    assert listed.keys() == set(_leaves(get_default_config()))
    assert listed["SOLVER.MAX_EPOCH"] == repr(get_default_config().SOLVER.MAX_EPOCH)


def _leaves(node: dict[str, object], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_begins_with_a_comment(path: Path) -> None:
    assert leading_comment(path).endswith(".")


def test_enough_messages_are_explained() -> None:
    assert len(MESSAGES) >= 20
    assert len(set(MESSAGES)) == len(MESSAGES)


@pytest.mark.parametrize("message", MESSAGES)
def test_an_explained_message_is_in_the_source(message: str, texts: list[str]) -> None:
    pattern = re.compile(".*".join(re.escape(piece) for piece in message.split("…")))
    assert any(pattern.search(text) for text in texts)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Returns all strings of both packages; a value in an f-string is ``…``."""
    found = []
    for folder in (ROOT / "slowfast", ROOT / "projects" / "vtn" / "vtn"):
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    values = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                    found.append("".join(map(str, values)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return found


def test_a_link_to_a_missing_page_is_refused() -> None:
    anchors = {"": "guides/index.md", "#4-train": "guides/train.md"}
    moved = move_links(
        "[a](../GETTING_STARTED.md#4-train) [b](site/pages/differences.md#x)\n```\n[code](nowhere.md)\n```\n",
        source="docs/EXTENDING.md", page="extending.md", guide_of_anchor=anchors,
    )  # fmt: skip
    assert moved == "[a](guides/train.md) [b](differences.md#x)\n```\n[code](nowhere.md)\n```\n"
    for target in ("nowhere.md", "../GETTING_STARTED.md#5-tset"):
        with pytest.raises(LinkError, match=re.escape(target.removeprefix("../"))):
            move_links(f"[a]({target})", source="docs/A.md", page="a.md", guide_of_anchor=anchors)


@pytest.mark.parametrize("module", [vtn_site.docstrings, vtn_site.guides, vtn_site.offline])
def test_examples_in_the_docstrings_of_the_site_run(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0
