"""Trackers of experiments: TensorBoard and others, which get the same metrics by the same names."""
