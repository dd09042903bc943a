"""Analyses: one module per sub-command of ``slowfast analyze``; projects add theirs by ``Project.analyses``."""

PICTURES = (".png", ".svg", ".pdf")
"""Kinds of pictures that analyses draw."""
