"""Views of a video: which frames, which crop, and how they are read and augmented."""
