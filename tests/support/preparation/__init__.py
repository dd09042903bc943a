"""Helpers for tests of data preparation."""
