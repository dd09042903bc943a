"""Clip encoders: backbones that look at several frames together."""
