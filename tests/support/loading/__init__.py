"""Helpers for tests of workers that load videos."""
