"""Measurement of the time that a process spends in each stage of its work."""
