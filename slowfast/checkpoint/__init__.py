"""Checkpoints: the state of a run, its files, the weights of a model, and how a run is resumed."""
