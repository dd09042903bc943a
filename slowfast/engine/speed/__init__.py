"""The speed of loading beside that of the training step."""
