"""Preparing data sets: checking, shrinking, listing, dividing and describing videos."""
