"""Published models: the model zoo, and the publication of a checkpoint."""
