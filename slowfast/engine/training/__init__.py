"""Training: the loop, one optimiser step, the schedule, the log, and the failures that a run tolerates."""
