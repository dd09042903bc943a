"""Analyses: one module for each sub-command of ``analyze``; projects add more with ``Project.analyses``."""
