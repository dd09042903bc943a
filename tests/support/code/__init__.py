"""Helpers for tests of the readers of annotations."""
