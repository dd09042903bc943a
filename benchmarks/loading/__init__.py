"""Ways to load training clips, for the benchmark of the loader."""
