"""The steps that MkDocs calls while it builds the site: pages of the repository, tables, a last check."""

from __future__ import annotations

from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from vtn_site.config_keys import key_tables
from vtn_site.guides import guide_navigation, guide_of_anchor, guide_pages, read_guides
from vtn_site.offline import loaded_addresses
from vtn_site.recipes import recipe_table
from vtn_site.repository_pages import IMAGES, PAGE_OF_FILE, ROOT, LinkError, move_links

TABLES = {"<!-- recipes -->": recipe_table, "<!-- keys -->": key_tables}


def on_config(config: Any) -> Any:
    """Puts the sections of GETTING_STARTED.md into the navigation."""
    for entry in config.nav:
        if "Guides" in entry:
            entry["Guides"] = guide_navigation(read_guides())
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages and images of the repository."""
    guides = read_guides()
    anchors = guide_of_anchor(guides)
    try:
        pages = guide_pages(guides)
        for source, page in PAGE_OF_FILE.items():
            text = (ROOT / source).read_text(encoding="utf-8")
            pages[page] = move_links(text, source=source, page=page, guide_of_anchor=anchors)
    except LinkError as error:
        raise PluginError(str(error)) from error
    for page, text in pages.items():
        files.append(File.generated(config, page, content=text))
    for path in sorted((ROOT / "docs").iterdir()):
        if path.suffix in IMAGES:
            files.append(File.generated(config, f"images/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replaces the marks of tables that are made of the sources; widens a page that is alone in its tab."""
    if page.parent is None:
        page.meta["hide"] = ["navigation"]
    for mark, make in TABLES.items():
        if mark in markdown:
            markdown = markdown.replace(mark, make())
    return markdown


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuses a page that loads anything from a network."""
    if addresses := loaded_addresses(output):
        raise PluginError(f"{page.file.src_uri}: loads {', '.join(addresses)}; keep a copy beside the page")
    return output
