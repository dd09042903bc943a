"""Peculiarities of image files, which FFmpeg reads as videos of one frame."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
"""Of images in folders that are read as videos; here, where commands find them without torch."""
