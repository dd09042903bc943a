"""Regions of a frame that a prediction depends on, for the backbones that can tell."""
