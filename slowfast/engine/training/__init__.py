"""Training: the loop, one step, its schedule, its log and its tolerance of failures."""
