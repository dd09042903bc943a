"""The docstrings of the sources as Markdown: roles of Sphinx become code, doctests become blocks of code."""

from __future__ import annotations

import re
from typing import Any

import griffe

import slowfast.errors

_ERRORS = [name for name in vars(slowfast.errors) if name.endswith("Error")]
_ROLE = re.compile(r":(?:class|func|meth|data|mod|attr|exc):`~?([^`]+)`")
# From a line with the prompt to the next empty line.
_DOCTEST = re.compile(r"^( *)>>> (?:.*\n?)(?:^(?! *$).*\n?)*", re.MULTILINE)


class PlainMarkdown(griffe.Extension):
    """Changes each docstring and each default when it has been read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Replaces the text of an object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Shows the default of a field that stands for a configuration key, instead of its declaration."""
        if isinstance(attr.value, griffe.ExprCall) and str(attr.value.function) == "setting":
            attr.value = attr.value.arguments[0]

    def on_module(self, *, mod: griffe.Module, **_: Any) -> None:
        """Lets the errors in a section "Raises" become links, also those that the module does not import."""
        for name in _ERRORS:
            if name not in mod.members:
                mod.set_member(name, griffe.Alias(name, f"slowfast.errors.{name}", parent=mod))


def as_markdown(text: str) -> str:
    """Returns a docstring as Markdown.

    >>> print(as_markdown("See :func:`run`."))
    See `run`.
    """
    text = _DOCTEST.sub(lambda match: f"{match[1]}```pycon\n{match[0].rstrip()}\n{match[1]}```\n", text)
    return _ROLE.sub(r"`\1`", text)
