"""Training: the loop, one optimizer step, the schedule, the log, and the failures that a run tolerates."""
