"""Helpers for tests of the web server."""
