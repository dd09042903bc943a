"""The way of frames through a backbone."""
