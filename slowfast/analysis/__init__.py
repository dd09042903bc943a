"""Analyses: one module a sub-command of ``tools/analyze.py``; projects add theirs by ``Project.analyses``."""

PICTURES = (".png", ".svg", ".pdf")
"""Kinds of pictures that analyses draw."""
