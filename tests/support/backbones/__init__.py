"""Helpers for tests of backbones."""
