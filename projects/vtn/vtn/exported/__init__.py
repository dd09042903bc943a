"""Models in files for other runtimes: their description, and their use as any other model."""
