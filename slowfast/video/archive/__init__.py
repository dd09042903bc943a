"""Videos that are members of tar archives, read in place."""
