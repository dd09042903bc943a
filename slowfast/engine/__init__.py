"""Runs: training, validation, tests, dry runs and demonstrations."""
