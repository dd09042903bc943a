"""Export of models to files for other runtimes, with their comparison to the model they come from."""
