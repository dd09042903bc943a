"""Runs on several nodes: their processes, hosts with a network between them, and a model with faults."""
