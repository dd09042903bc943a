"""Helpers for tests of decoding."""
