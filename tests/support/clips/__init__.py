"""Clip encoders for tests."""
