"""Processes of a run: how they are started, meet, communicate and fail together."""
