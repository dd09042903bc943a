"""The parts before and after the temporal encoder: preparation of features, pooling, classification."""
