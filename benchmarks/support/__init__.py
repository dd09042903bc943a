"""Parts that benchmarks share, and the other implementations that they compare with."""
