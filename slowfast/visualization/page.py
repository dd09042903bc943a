"""HTML pages that refer to no other file and follow the light or dark mode of the reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jinja2


def fill_template(
    package: str, template: str, filters: Mapping[str, Callable[..., Any]] | None = None, **values: Any
) -> str:
    """Returns the page of a template, which begins with ``{% include "head.html" %}``.

    Args:
        package: whose folder has the template.
        template: name of its file.
        filters: further filters of the template, by name.
        values: variables of the template.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name, ".") for name in (package, __package__)]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(filters or {})
    return environment.get_template(template).render(**values)
