"""Benchmarks that train models."""
