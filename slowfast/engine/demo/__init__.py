"""The last stage of a run: a video with the best classes over time drawn on it (``DEMO``)."""
