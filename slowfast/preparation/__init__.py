"""Preparation of data sets: checks, smaller copies, lists, splits and statistics."""
