"""Questions that a test answers beyond the accuracy."""
