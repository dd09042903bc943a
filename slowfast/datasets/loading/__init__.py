"""Loading of clips in worker processes: samplers, workers, batches."""
