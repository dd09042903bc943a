"""Families of clip encoders: the computation from a clip to features by time step and place."""
