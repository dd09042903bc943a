"""Metrics of predictions, and the intervals in which their true values lie."""
