"""Benchmarks: one file each, every comparison interleaved in one process. ``tools/benchmark.py`` opens them.

A benchmark module has a docstring whose first line describes it, ``add_arguments(parser)`` for its own
options, and ``run(args) -> benchmarks.measure.Report``.
"""
