"""The table of a stream's frames: their number and order, display times, and where decoding starts."""
