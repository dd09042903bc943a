"""Extraction of the features of a data set into a cache."""
