"""Data sets in shards: tar archives of videos and their labels in the layout of WebDataset."""
