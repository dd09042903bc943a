"""The temporal encoder: a Longformer over frame features."""
