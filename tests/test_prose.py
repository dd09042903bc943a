"""Plain English: four habits that readers stumble over have no place in docstrings, comments and messages.

CONTRIBUTING.md has the rules.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = [
    path
    for folder in ("slowfast", "projects", "tools", "benchmarks", "docs", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != Path(__file__)
]
PAGES = [
    path
    for pattern in ("*.md", "docs/*.md", "docs/site/pages/**/*.md", "projects/vtn/*.md")
    for path in sorted(ROOT.glob(pattern))
    if path.name != "CONTRIBUTING.md"  # quotes them
]

# A docstring begins with a verb ("Returns …") or a noun phrase, not with "What a folder holds".
CLAUSE_LED = re.compile(r"(What|Which|Where|Who|How|When)\b")
# "is not a valid path", not "is no path".
NEGATED_NOUN = re.compile(r"\b(is|are|was|be) (none|no [a-z]+)\b")
# "one clip per step", not "one clip a step".
A_FOR_PER = re.compile(
    r"\b(clips?|frames?|steps?|rows?|videos?|seconds?|views?|epochs?|one|values?) an? "
    r"(step|epoch|frame|video|second|process|layer|clip|class|core|gpu|machine|stage|parameter)\b",
    re.IGNORECASE,
)
# "the user", "again", "continue"; not names: of a container's user, of a repository's owner.
UNUSUAL_WORDS = re.compile(r"(?<!USER )\b(nobody|somebody|anew|go(?:es)? on)\b(?!/)")


def _docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text is not None:
                yield node.body[0].lineno, text


def _texts(source: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yields (line, text) of all comments and strings; the values in an f-string are left out."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, " ".join(node.value.split())
        elif isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield node.lineno, " ".join("".join(map(str, parts)).split())


def _may_have_slips(source: str) -> bool:
    """Returns whether its words, without quotes and prefixes of strings, have a slip; parsing is slow."""
    found = re.findall(r"\w+", source.replace(r"\n", " "))
    words = " ".join(word for word in found if word not in ("f", "r", "rf"))
    led = re.search(rf'"""\s*{CLAUSE_LED.pattern}', source)
    return bool(led or any(pattern.search(words) for pattern in (NEGATED_NOUN, A_FOR_PER, UNUSUAL_WORDS)))


def _slips(source: str) -> Iterator[str]:
    """Yields the line and the text of each slip in a file of Python."""
    if not _may_have_slips(source):
        return
    tree = ast.parse(source)
    for line, text in _docstrings(tree):
        if CLAUSE_LED.match(text):
            yield f"{line}: {text[:70]}"
    for line, text in _texts(source, tree):
        for pattern in (NEGATED_NOUN, A_FOR_PER, UNUSUAL_WORDS):
            for match in pattern.finditer(text):
                yield f"{line}: …{match[0]}…"


def test_sources_are_plain_english() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{slip}"
        for path in SOURCES
        for slip in _slips(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_each_slip_is_found() -> None:
    source = '"""What it does."""\n# it is no path\nx = f"one value a {x} step"\ny = "two " "frames a step"\n'
    source += "# made anew\n"
    expected = ["1: What it does.", "2: …is no path…", "5: …anew…", "4: …frames a step…"]
    assert sorted(_slips(source)) == sorted(expected)


def test_pages_are_plain_english() -> None:
    found = [
        f"{path.relative_to(ROOT)}: …{match[0]}…"
        for path in PAGES
        for pattern in (NEGATED_NOUN, A_FOR_PER, UNUSUAL_WORDS)
        for match in pattern.finditer(" ".join(path.read_text(encoding="utf-8").split()))
    ]
    assert found == []
