"""Predictions for many videos: from a source of weights and files to results."""
