"""Analyses that VTN adds to the command ``analyze``."""
