"""Helpers for tests of shards."""
