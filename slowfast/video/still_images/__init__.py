"""Peculiarities of image files, which FFmpeg reads as videos of one frame."""
