"""Backbones: one module for each source, and the code that all sources share."""
