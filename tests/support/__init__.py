"""Helpers of the tests: encoded videos, tiny models and configurations, runs of processes and nodes."""
