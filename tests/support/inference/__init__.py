"""Helpers for tests of inference."""
