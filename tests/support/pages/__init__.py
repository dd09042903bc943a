"""Helpers for tests of HTML pages."""
