"""Reports, charts and tables of runs and predictions."""
