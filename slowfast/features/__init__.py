"""Caches of the features of frames, and files of features made elsewhere, as data."""
