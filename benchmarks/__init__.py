"""Benchmarks of the command ``benchmark``, one module for each; every comparison is interleaved in one
process.

A benchmark module has a docstring whose first line describes it, ``add_arguments(parser)`` for its own
options, and ``run(args) -> benchmarks.measure.BenchmarkReport``. The command adds the option ``--json``.
"""
