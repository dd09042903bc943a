"""Data sets of features: caches that this program extracts, and files of other programs."""
