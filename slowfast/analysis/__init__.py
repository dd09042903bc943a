"""Analyses: one module per sub-command of ``slowfast analyze``; projects name theirs in their Project."""

PICTURES = (".png", ".svg", ".pdf")
"""Kinds of pictures that analyses draw."""
