"""Published models: the model zoo, and what makes a checkpoint usable by others."""
