"""Analyses: one module for each sub-command of ``analyze``; projects add more with ``Project.analyses``."""

IMAGE_SUFFIXES = (".png", ".svg", ".pdf")
"""Image formats that analyses can write."""
