"""Helpers for tests of trackers."""
