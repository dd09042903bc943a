"""Inference on videos of any length: features, scores, streams."""
