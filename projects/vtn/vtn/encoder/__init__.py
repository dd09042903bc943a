"""The temporal encoder: a Longformer over the features of frames."""
