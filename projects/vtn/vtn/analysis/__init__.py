"""The analyses that VTN adds to ``tools/analyze.py``."""
